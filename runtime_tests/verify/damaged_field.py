"""What is wrong with a file that does not fit its model, in one line."""

from pydantic import ValidationError


def damaged_field(error: ValidationError) -> str:
    """The first thing wrong with a file, as `field: what`."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "file"
    return f"{where}: {first['msg']}"
