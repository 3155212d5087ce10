"""One line says what is wrong with a file, whatever the file holds."""

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from genq_export.core.damaged_field import damaged_field


class Held(BaseModel):
    """What a file may hold."""

    model_config = ConfigDict(extra="forbid")
    sizes: list[int]

    @field_validator("sizes")
    @classmethod
    def _some(cls, sizes: list[int]) -> list[int]:
        if not sizes:
            raise ValueError("there is none")
        return sizes


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"sizes": [1, "a"]}, "sizes.1: Input should be a valid integer"),
        ({"sizes": []}, "sizes: there is none"),
        ({"sizes": [1], "\x1b[2Jx\nname": 1}, "?[2Jx?name: Extra inputs"),
        ({"sizes": [1], "n" * 10**6: 1}, "nnn..."),
        (3, "file: Input should be"),
    ],
)
def test_the_first_field_is_named_in_one_printable_line(content: object, line: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Held.model_validate(content)
    said = damaged_field(caught.value)
    assert line in said
    assert said.isprintable() and len(said) < 500
