"""The archive of an exported program: JSON and tensors out of a zip, nothing unpickled but plain tensors."""

import io
import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genq_export.core.errors import UserError, reason_of
from genq_export.models.program.schema import SCHEMA, WRITER

_FILE_NAME = re.compile(r"[\w.-]{1,100}")
_OLD = "serialized_exported_program.json"
# `torch._export.serde.schema.ScalarType`, which files state as numbers.
DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}


@dataclass(frozen=True)
class Archive:
    """What a file holds.

    graph_module: as `torch._export.serde.schema.GraphModule` lays it out. tensors: by their path in the network.
    parameters: paths of those that are. torch_version: that wrote it.
    """

    graph_module: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    parameters: frozenset[str]
    torch_version: str


def read_archive(path: Path) -> Archive:
    """Read a `.pt2` file of `torch.export.save`.

    Raises:
        UserError: where it is none, is damaged, or was written by a torch whose files this one does not read.
    """
    try:
        with zipfile.ZipFile(path) as file:
            return _read(path, file)
    except FileNotFoundError:
        raise UserError(f"exported program {path} does not exist") from None
    except UserError:
        raise
    except pickle.UnpicklingError:
        raise UserError(f"{path} is no exported program: what stands for a tensor in it would run code") from None
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError, RuntimeError, RecursionError) as error:
        raise UserError(f"{path} is no exported program of torch.export.save: {reason_of(error)}") from None


def _read(path: Path, file: zipfile.ZipFile) -> Archive:
    members = {info.filename: info for info in file.infolist()}
    if any(name.rpartition("/")[2] == _OLD for name in members):
        raise UserError(f"{path} was written by torch before 2.8: load it there, and save it with torch 2.8 or newer")
    if sum(info.file_size for info in members.values()) > path.stat().st_size:
        raise ValueError("it is compressed, which torch.export.save does not do")
    root = next(iter(members)).partition("/")[0]
    models = [name for name in members if re.fullmatch(rf"{re.escape(root)}/models/[^/]+\.json", name)]
    if len(models) != 1:
        raise ValueError(f"it holds {len(models)} programs" if models else "it holds no program")
    name = models[0].rpartition("/")[2].removesuffix(".json")
    program = json.loads(file.read(models[0]))
    _check_version(path, program)
    tensors, parameters = dict[str, Tensor](), set[str]()
    for kind in ("weights", "constants"):
        folder = f"{root}/data/{kind}"
        for key, entry in json.loads(file.read(f"{folder}/{name}_{kind}_config.json"))["config"].items():
            tensors[key] = _tensor(file, folder, entry)
            parameters |= {key} if entry["is_param"] else set()
    return Archive(program["graph_module"], tensors, frozenset(parameters), str(program["torch_version"])[:40])


def _check_version(path: Path, program: Mapping[str, Any]) -> None:
    written = int(program["schema_version"]["major"])
    if written == SCHEMA:
        return
    by = f"{path} has schema {written} (written by torch {str(program.get('torch_version'))[:40]})"
    again = f"export the network with torch {WRITER}, or to an ONNX file, which is read whatever torch wrote it"
    raise UserError(f"{by}, and schema {SCHEMA} is read, which torch {WRITER} writes: {again}")


def _tensor(file: zipfile.ZipFile, folder: str, entry: Mapping[str, Any]) -> Tensor:
    if not _FILE_NAME.fullmatch(entry["path_name"]):
        raise ValueError(f"{str(entry['path_name'])[:40]} names no tensor")
    content = file.read(f"{folder}/{entry['path_name']}")
    if entry["use_pickle"]:
        found = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        if not isinstance(found, Tensor):
            raise ValueError(f"{entry['path_name']} is no tensor")
        return found.detach().clone()
    return _raw(content, entry["tensor_meta"])


def _raw(content: bytes, meta: Mapping[str, Any]) -> Tensor:
    """A tensor from its bytes; sizes and strides must stay within them."""
    dtype = DTYPES[meta["dtype"]]
    sizes, strides = ([_size(value) for value in meta[name]] for name in ("sizes", "strides"))
    offset = _size(meta["storage_offset"])
    if 0 in sizes:
        return torch.zeros(sizes, dtype=dtype)
    storage = torch.frombuffer(bytearray(content), dtype=dtype)
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    if last >= len(storage):
        raise ValueError("a tensor is larger than its bytes")
    return storage.as_strided(sizes, strides, offset).clone()


def _size(value: Mapping[str, Any]) -> int:
    number = value["as_int"]
    if not isinstance(number, int) or number < 0:
        raise ValueError(f"{str(number)[:20]} is no size")
    return number
