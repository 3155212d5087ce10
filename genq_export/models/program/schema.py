"""The version of the files that the loader reads."""

SCHEMA = 8  # `torch._export.serde.schema.SCHEMA_VERSION`
WRITER = "2.13"  # the torch that writes it
