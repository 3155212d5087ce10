"""Which kind of source a path is. What could be two kinds is refused, and both are named."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from genq_export.core.errors import UserError
from genq_export.data import hf_dataset, webdataset
from genq_export.data.account import listed, shown
from genq_export.data.class_names import read_listing
from genq_export.data.classifier import Classes
from genq_export.data.decode import is_image_name
from genq_export.data.digests import file_digest, source_digest
from genq_export.data.folder import read_folder
from genq_export.data.labels import fold
from genq_export.data.raw import LISTING, Raw, Reading
from genq_export.data.splits import SPLITS, chosen_split, split_of_file
from genq_export.data.walk import visible_files

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # tables that list the images of all folders below


def find(source: Path, network: Classes | None, reading: Reading) -> Raw:
    """Read a source as what it is, and the `classes.txt` that is nearest to its images.

    Raises:
        UserError: where it is nothing that is read here, or could be two things.
    """
    if not source.exists():
        raise UserError(f"image folder {source} does not exist")
    raw, listing = _find(source, network, reading), _listing(source)
    if raw.listing is not None or not listing.is_file():
        return raw
    return replace(raw, listing=read_listing(listing))


def _find(source: Path, network: Classes | None, reading: Reading) -> Raw:
    if not source.is_dir():
        if webdataset.is_shard_name(source.name):
            return webdataset.read_shards(source, [source], reading)
        raise UserError(f"{source} is a file: give a folder of images, a Hugging Face data set or .tar shards")
    if hf_dataset.is_saved(source):
        return hf_dataset.read_dataset(source, reading)
    shards, folders, image = _contents(source)
    if shards:
        _check_alone(source, shards, folders, image)
        return webdataset.read_shards(source, shards, reading)
    parquet = next(iter(_parquet_files(source)), None)
    if parquet is not None:
        if image or folders:
            raise UserError(_two_layouts(source, parquet, _first(folders, image)))
        return hf_dataset.read_dataset(source, reading)
    split = _split_folder(source, [folder.name for folder in folders], network, reading)
    if split is not None:
        raw = find(source / split, network, reading)
        note = f"'{split}' was read, the split for this use, of {listed(folder.name for folder in folders)}"
        notes = (note, *raw.notes) if len(folders) > 1 else raw.notes
        return replace(raw, layout=f"{raw.layout}, its split '{split}'", notes=notes)
    return read_folder(source, reading)


def used_part(source: Path, reading: Reading) -> Path:
    """The folder of the split that is read, where a source has nothing but splits; else all of the source.

    What decides the images lies in it: other splits may change, and need not be looked at.
    """
    if not source.is_dir() or hf_dataset.is_saved(source):
        return source
    shards, folders, _ = _contents(source)
    if shards or not folders or any(_may_be_class(folder) for folder in folders):
        return source
    try:
        split = _split_folder(source, [folder.name for folder in folders], None, reading)
    except UserError:
        return source
    return source if split is None else source / split


def used_digest(source: Path, reading: Reading) -> str | None:
    """Digest of everything that decides the images of a source and their labels; None where there is none.

    Raises:
        UserError: where a file of it cannot be read.
    """
    found, listing = source_digest(used_part(source, reading)), _listing(source)
    return f"{found} {file_digest(listing)}" if listing.is_file() else found


def _listing(source: Path) -> Path:
    return (source if source.is_dir() else source.parent) / LISTING


def _contents(source: Path) -> tuple[list[Path], list[Path], Path | None]:
    """Archives, folders with an image in them, and the first image, at the top of a folder."""
    entries = sorted(path for path in source.iterdir() if not path.name.startswith("."))
    shards = [path for path in entries if path.is_file() and webdataset.is_shard_name(path.name)]
    folders = [path for path in entries if path.is_dir() and path.name != "__MACOSX" and _holds_images(path)]
    image = next((path for path in entries if path.is_file() and is_image_name(path.name)), None)
    return shards, folders, image


def _holds_images(folder: Path) -> bool:
    """Is there an image, or an archive of some, in a folder or below?"""
    return any(is_image_name(path.name) or webdataset.is_shard_name(path.name) for path in visible_files(folder))


def _parquet_files(source: Path) -> list[Path]:
    """Those that hold images; `metadata.parquet` is a table of image files."""
    return sorted(path for path in source.rglob("*.parquet") if path.is_file() and path.name not in _METADATA)


def _check_alone(source: Path, shards: Sequence[Path], folders: Sequence[Path], image: Path | None) -> None:
    """Shards of one split, with no image beside them."""
    if folders or image:
        raise UserError(_two_layouts(source, shards[0], _first(folders, image)))
    splits: dict[str, Path] = {}
    for shard in shards:
        split = split_of_file(shard.name)
        if split is not None:
            splits.setdefault(split, shard)
    if len(splits) > 1:
        examples = listed(path.name for path in splits.values())
        raise UserError(
            f"{source} has shards of the splits {' and '.join(splits)} ({examples}): move those of one split"
            " to a folder of their own and give that"
        )


def _first(folders: Sequence[Path], image: Path | None) -> Path:
    return folders[0] if folders else image or Path()


def _two_layouts(source: Path, archive: Path, beside: Path) -> str:
    kind = "folder" if beside.is_dir() else "image"
    return (
        f"{source} has '{shown(archive.relative_to(source))}' beside the {kind} '{shown(beside.name)}': they are two"
        " sets of images, move one to a folder of its own"
    )


def _split_folder(source: Path, folders: Sequence[str], network: Classes | None, reading: Reading) -> str | None:
    """The folder of the split that suits the use; None where folders are classes, or there are none.

    A folder called `test` is a split where it stands alone or beside others called so; beside other folders it is a
    class, if the network has such a class.
    """
    splits = [name for name in folders if name.lower() in SPLITS]
    others = [name for name in folders if name not in splits]
    if not splits:
        return None
    classes = {fold(name) for name in (network.class_names or ())} if network is not None else set()
    as_classes = [name for name in splits if fold(name) in classes and _may_be_class(source / name)]
    if len(as_classes) == len(splits) or any((source / name).is_file() for name in _METADATA):
        return None
    if others:
        if network is None:
            return None
        raise UserError(
            f"{source} has the folder '{splits[0]}', which reads as a split, beside the folder '{shown(others[0])}',"
            f" which does not, and '{splits[0]}' is no class of {network.name}: give {source / splits[0]}, or move one"
        )
    chosen = splits[0] if len(splits) == 1 else chosen_split(splits, reading.use)
    if chosen is None:
        raise UserError(f"{source} has the splits {', '.join(splits)}: give the folder of the one to use")
    return chosen


def _may_be_class(folder: Path) -> bool:
    """Does a folder hold files alone, and no archive of images?"""
    return not any(path.is_dir() or webdataset.is_shard_name(path.name) for path in folder.iterdir())
