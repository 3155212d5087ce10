"""The version of the files that the loader reads."""

SCHEMA = 8  # `torch._export.serde.schema.SCHEMA_VERSION`, of torch 2.13
