"""Weights from files: safetensors, torch files and their shards, read without executing anything in them."""

import json
import pickletools
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genq_export.core.errors import UserError, reason_of
from genq_export.core.paths import inside
from genq_export.data.digests import file_digest, files_digest

if TYPE_CHECKING:
    from torch import Tensor

    from genq_export.models.state_dict import StateDict

# In a folder, in this order; the ones with an index name the files of their shards.
_IN_FOLDERS = ("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin")
_INDEX = ".index.json"
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
_PICKLE, _ZIP = b"\x80", b"PK\x03\x04"
_OTHERS = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file: fetch it with `git lfs pull`"),
    (b"<", "a web page, not weights: download the file itself"),
    (b"\x89HDF", "an HDF5 file of Keras: convert it to .safetensors"),
    (b"GGUF", "a GGUF file: give the original weights as .safetensors"),
)
# Of Python's own library, these are data and nothing else; whatever is beside them is not opened.
_DATA = ("argparse.Namespace", "types.SimpleNamespace", "_codecs.encode")
_DATA_MODULES = ("collections", "pathlib", "datetime", "decimal", "fractions", "uuid")
_PICKLES = 4  # in the older format of torch: mark, version, system, content


def read_checkpoint(path: Path) -> "StateDict":
    """Return the weights that a checkpoint holds, under the names that it has for them.

    Raises:
        UserError: where it cannot be read, would run code, or holds no weights or several.
    """
    from genq_export.models.state_dict import StateDict, state_dict_of

    files = weights_files(path)
    if len(files) == 1:
        return state_dict_of(_content(files[0]), str(files[0]))
    tensors: dict[str, Tensor] = {}
    for file in files[1:]:
        tensors |= state_dict_of(_content(file), str(file)).tensors
    return StateDict(str(path), tensors, (f"read from {len(files) - 1} shards",))


def weights_files(path: Path) -> list[Path]:
    """Return the file of a checkpoint, or its index and all shards.

    Raises:
        UserError: where there is none, or a shard is missing.
    """
    if not path.exists():
        raise UserError(f"weights file {path} does not exist (--weights takes a .safetensors or .pth file)")
    file = _in_folder(path) if path.is_dir() else path
    return [file, *_shards(file)] if file.name.endswith(_INDEX) else [file]


def weights_digest(path: Path) -> str:
    """Digest of the content of every file of a checkpoint; raises UserError as `weights_files`."""
    files = weights_files(path)
    return file_digest(files[0]) if len(files) == 1 else files_digest(files[0].parent, files)


def _in_folder(folder: Path) -> Path:
    for name in _IN_FOLDERS:
        if (folder / name).is_file():
            return folder / name
    found = sorted(place for place in folder.iterdir() if place.suffix in _SUFFIXES and place.is_file())
    if len(found) == 1:
        return found[0]
    named = f"several ({found[0].name}, {found[1].name}, …)" if found else f"none ({', '.join(_SUFFIXES)})"
    raise UserError(f"the folder {folder} must hold one checkpoint and holds {named}: give the file")


def _shards(index: Path) -> list[Path]:
    try:
        names = json.loads(index.read_bytes())["weight_map"].values()
        shards = [inside(index.parent, name) for name in sorted(set(names))]
    except OSError as error:
        raise UserError(f"cannot read {index}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{index} is no index of shards (a weight_map with a file for every tensor)") from None
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing or not shards:
        what = f"{missing[0]}, which is not there" if missing else "no file"
        raise UserError(f"{index} names {what}: give every shard of the checkpoint")
    return shards


def _content(path: Path) -> object:
    """What a file holds: decided by its first bytes, whatever its name."""
    try:
        with open(path, "rb") as handle:
            start = handle.read(64)
    except OSError as error:
        raise UserError(f"cannot read weights from {path}: {error.strerror}") from None
    if not start:
        raise UserError(f"cannot read weights from {path}: it is empty")
    for mark, what in _OTHERS:
        if start.lstrip().startswith(mark):
            raise UserError(f"{path} is {what}")
    is_safetensors = start[8:9] == b"{"  # after the header's length
    return _from_torch(path) if start.startswith((_PICKLE, _ZIP)) and not is_safetensors else _from_safetensors(path)


def _from_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise UserError(f"cannot read weights from {path}: {reason_of(error)}") from None


def _from_torch(path: Path) -> object:
    """A torch file with inert objects in the place of whatever else it wants to make."""
    import torch

    wanted = list(_wanted(path))
    code = next((name for name in wanted if not _is_data(name)), None)
    if code is not None:
        raise UserError(f"{path} is not a plain weights file (it would run {code}); save it as .safetensors")
    try:
        stand_ins: list[Any] = [(_stand_in(name), name) for name in wanted]
        # A handle, since torch looks at the suffix of a path.
        with torch.serialization.safe_globals(stand_ins), open(path, "rb") as handle, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about formats that are refused, or read all the same
            return torch.load(handle, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(f"cannot read weights from {path}: {_torch_reason(error)}") from None
    except Exception as error:  # torch.load raises pickle's own error where a file wants to run code
        raise UserError(
            f"{path} is not a plain weights file ({type(error).__name__}); save it as .safetensors"
        ) from None


def _wanted(path: Path) -> Iterator[str]:
    """Names of classes and functions that a torch file wants beside tensors; nothing is made to find out."""
    import torch

    try:
        yield from torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except ValueError:  # the older format, or one that `torch.load` will refuse
        yield from _wanted_in_pickles(path)
    except (RuntimeError, OSError):
        return


def _wanted_in_pickles(path: Path) -> Iterator[str]:
    found = set()
    try:
        with open(path, "rb") as handle:
            for _ in range(_PICKLES):
                names = (arg for code, arg, _ in pickletools.genops(handle) if code.name == "GLOBAL")
                found |= {str(name).replace(" ", ".") for name in names}
    except (ValueError, UnicodeDecodeError, IndexError):
        return
    yield from sorted(found)


def _is_data(name: str) -> bool:
    """Is it an object that can be left closed? Of Python's own library only what is known to be mere data."""
    root = name.partition(".")[0]
    return root not in sys.stdlib_module_names or root in _DATA_MODULES or name in _DATA


def _stand_in(name: str) -> type:
    from genq_export.models.state_dict import StandIn

    return type("StandIn", (StandIn,), {"wanted": name})


def _torch_reason(error: Exception) -> str:
    text = str(error)
    if "TorchScript" in text:
        return "it is a TorchScript archive, which is code: save the network's `.state_dict()` as .safetensors"
    if "data.pkl" in text or "archive" in text:
        return f"it is damaged or no file of torch.save ({reason_of(error)[:80]})"
    return reason_of(error)
