"""Images that are no files of their own: members of an archive, rows of a data set. Decoded when they are asked for."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import overload

from PIL import Image

from genq_export.data.decode import decode_bytes


class Pictures(Sequence[Image.Image], ABC):
    """RGB pictures by number. `name` and `content` say what each is and give the bytes of its file."""

    @abstractmethod
    def name(self, index: int) -> str:
        """What an error calls it; raises no error."""

    @abstractmethod
    def content(self, index: int) -> bytes:
        """The bytes of its file; raises UserError where they are not there."""

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> list[Image.Image]: ...
    def __getitem__(self, index: int | slice) -> Image.Image | list[Image.Image]:
        """One RGB picture, or a list of them. Raises UserError for one that is missing or cannot be decoded."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return decode_bytes(self.content(index), self.name(index))


class Files(Pictures):
    """Image files, as such pictures."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, index: int) -> str:
        """Its path."""
        return str(self._paths[index])

    def content(self, index: int) -> bytes:
        """What it holds."""
        from genq_export.core.errors import UserError

        try:
            return self._paths[index].read_bytes()
        except OSError as error:
            raise UserError(f"cannot read image {self._paths[index]}: {error.strerror}") from None


def as_pictures(images: Sequence[Path] | Pictures) -> Pictures:
    """Files or pictures as pictures."""
    return images if isinstance(images, Pictures) else Files(images)
