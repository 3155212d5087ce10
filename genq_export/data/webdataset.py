"""WebDataset shards: tar files in which neighbours of one base name belong together (`0001.jpg`, `0001.cls`).

Members are read where they lie: nothing is unpacked to disk, no member's name is used as a path, nothing is executed.
"""

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from PIL import Image

from genq_export.core.errors import UserError
from genq_export.data.classifier import Classes
from genq_export.data.decode import IMAGE_SUFFIXES, decode_image
from genq_export.data.labels import check_labels, class_numbers

_LONGEST_LABEL = 1 << 16  # bytes; a label is a number or a small JSON object
_BLOCK = 512


def is_sharded(source: Path) -> bool:
    """Is it a tar file, or a folder of tar files without an image beside them?"""
    if source.suffix == ".tar":
        return True
    return (
        source.is_dir()
        and bool(_shards(source))
        and not any(path.suffix.lower() in IMAGE_SUFFIXES for path in source.iterdir())
    )


def read_shards(source: Path, network: Classes) -> tuple["ShardImages", np.ndarray | None]:
    """Pictures and labels of one shard or a folder of them, in the order of names and members.

    A label is the text of `KEY.cls` (a class number or name), or `label` or `cls` in `KEY.json`. Raises UserError for a
    file that is no tar file or ends early, for images of which only some have labels, and for classes the network has
    not.
    """
    samples = [sample for shard in _shards(source) for sample in _samples(shard)]
    if not samples:
        raise UserError(f"no images in {source} (looked for {', '.join(IMAGE_SUFFIXES)} in its tar files)")
    names = sorted({sample.label for sample in samples if sample.label is not None and not _is_number(sample.label)})
    if names:
        every = sorted({sample.label for sample in samples if sample.label is not None})
        numbers = class_numbers(every, network, source)
        labels = [None if sample.label is None else numbers[sample.label] for sample in samples]
    else:
        labels = [None if sample.label is None else int(sample.label) for sample in samples]
    return ShardImages(samples), check_labels(labels, network, source)


@dataclass
class _Sample:
    shard: Path
    name: str
    offset: int
    size: int
    label: str | None = None


class ShardImages(Sequence[Image.Image]):
    """Pictures in tar files, decoded when they are asked for."""

    def __init__(self, samples: Sequence[_Sample]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> list[Image.Image]: ...
    def __getitem__(self, index: int | slice) -> Image.Image | list[Image.Image]:
        """One RGB picture, or a list of them. Raises UserError for one that cannot be decoded."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        sample = self._samples[index]
        with open(sample.shard, "rb") as file:
            file.seek(sample.offset)
            content = file.read(sample.size)
        return decode_image(io.BytesIO(content), f"{sample.name} in {sample.shard}")


def _shards(source: Path) -> list[Path]:
    return sorted(source.glob("*.tar")) if source.is_dir() else [source]


def _samples(shard: Path) -> Iterator[_Sample]:
    """Images of one tar file with their labels, in the order of the images."""
    images: dict[str, _Sample] = {}
    labels: dict[str, str] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            end = 0
            for member in archive:
                end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
                if not member.isreg():
                    continue
                folder, _, file = member.name.rpartition("/")
                stem, _, extension = file.partition(".")
                key = f"{folder}/{stem}"
                if f".{extension.lower()}" in IMAGE_SUFFIXES:
                    if key in images:
                        raise UserError(f"{shard} has two images of the name {stem}")
                    images[key] = _Sample(shard, member.name, member.offset_data, member.size)
                elif extension in ("cls", "json") and member.size <= _LONGEST_LABEL:
                    content = archive.extractfile(member)
                    assert content is not None
                    label = _label(content.read(), extension, member.name, shard)
                    if label is not None:
                        labels[key] = label
            if shard.stat().st_size < end + _BLOCK:
                raise UserError(f"{shard} ends early: the tar file is truncated, copy or download it again")
    except tarfile.TarError as error:
        reason = "is truncated" if "unexpected end" in str(error) else f"is not a tar file that can be read ({error})"
        raise UserError(f"{shard} {reason}: copy or download it again") from None
    except OSError as error:
        raise UserError(f"cannot read {shard}: {error.strerror or error}") from None
    for key, sample in images.items():
        sample.label = labels.get(key)
        yield sample


def _label(content: bytes, extension: str, name: str, shard: Path) -> str | None:
    """The label as text; None for a JSON object that has none."""
    try:
        if extension == "cls":
            return content.decode().strip() or None
        fields = json.loads(content)
    except ValueError:
        raise UserError(f"the label {name} in {shard} cannot be read") from None
    found = fields.get("label", fields.get("cls")) if isinstance(fields, dict) else None
    return None if found is None else str(found)


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdigit()
