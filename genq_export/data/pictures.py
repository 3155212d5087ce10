"""Images that are no files of their own: members of an archive, rows of a data set. Decoded when they are asked for."""

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, overload

from PIL import Image

from genq_export.core.errors import UserError
from genq_export.data.decode import decode_bytes, read_image


class Pictures(Sequence[Image.Image], ABC):
    """RGB pictures by number. `name` and `content` say what each is and give the bytes of its file."""

    @abstractmethod
    def name(self, index: int) -> str:
        """What an error calls it; raises no error."""

    @abstractmethod
    def content(self, index: int) -> bytes:
        """The bytes of its file; raises UserError where they are not there."""

    def file(self, index: int) -> IO[bytes]:
        """Its file, to seek in; raises UserError as `content`."""
        return io.BytesIO(self.content(index))

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
        with self.file(index) as file:
            return file.read()

    def file(self, index: int) -> IO[bytes]:
        """As it lies there."""
        try:
            return open(self._paths[index], "rb")
        except OSError as error:
            raise UserError(f"cannot read image {self._paths[index]}: {error.strerror}") from None


@dataclass(frozen=True)
class StoredPicture:
    """One of them."""

    pictures: Pictures
    index: int

    @property
    def name(self) -> str:
        """What an error calls it."""
        return self.pictures.name(self.index)


def upright_image(image: Path | StoredPicture) -> Image.Image:
    """RGB, turned as the camera notes. Raises UserError where it cannot be decoded."""
    if isinstance(image, Path):
        return read_image(image, upright=True)
    return decode_bytes(image.pictures.content(image.index), image.name, upright=True)


def as_pictures(images: Sequence[Path] | Pictures) -> Pictures:
    """Files or pictures as pictures."""
    return images if isinstance(images, Pictures) else Files(images)
