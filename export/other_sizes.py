"""The written file on images of sizes that it was not calibrated on: its codes against the oracle's."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from export.summary import AtOtherSize
from genq_export.core.errors import BackendError, UserError
from genq_export.data.evaluation import load_images
from genq_export.models.loaded import LoadedModel
from genq_export.network.containers import container_shift
from genq_export.network.free_size import FreeSize, Size
from genq_export.network.hooks import record_codes
from genq_export.network.integer import IntegerQuantizer
from genq_export.network.interpreter import GraphNetwork
from genq_export.network.onnx_graph import quantizers, read_model
from genq_export.network.outputs import by_name
from genq_export.runtimes.base import Codes, Session
from genq_export.runtimes.onnxruntime import ONNXRUNTIME

_IMAGES = 2
_MOST = 1e-3  # share of codes that differ of themselves: float operators round otherwise, and a tie falls elsewhere


def compared_at_other_sizes(
    path: Path, integer_model: GraphNetwork, free_size: FreeSize, model: LoadedModel, images: Sequence[Path]
) -> tuple[AtOtherSize, ...]:
    """Run the file and the oracle on a few images in the calibrated size and in two others.

    Args:
        path: of the ONNX file.
        integer_model: the oracle.
        free_size: in which sizes it takes images.
        model: its preprocessing.
        images: of the calibration set; noise where there are none.

    Raises:
        UserError: where the file does not run on a size, or its codes there are not the oracle's.
    """
    first, _, last = free_size.tried()
    pictures = _pictures(model, images)
    session = ONNXRUNTIME.open(path)
    try:
        return tuple(
            _compared(path, integer_model, session, F.interpolate(pictures, size[1:], mode="bilinear"))
            for size in (free_size.calibrated, first, last)
        )
    except BackendError as error:
        raise UserError(f"--dynamic-size: {error}") from error
    finally:
        session.close()


def _pictures(model: LoadedModel, images: Sequence[Path]) -> Tensor:
    if images:
        return load_images(list(images[:_IMAGES]), model)
    return torch.randn(_IMAGES, *model.input_size, generator=torch.Generator().manual_seed(0))


def _compared(path: Path, integer_model: GraphNetwork, session: Session, images: Tensor) -> AtOtherSize:
    shown = "x".join(map(str, images.shape[1:]))
    answer, expected = record_codes(integer_model, images)
    outputs, found = session.codes(images.numpy())
    shapes = {name: tuple(tensor.shape) for name, tensor in by_name(answer).items()}
    if shapes != {name: tensor.shape for name, tensor in outputs.items()}:
        raise UserError(f"--dynamic-size: for images of {shown} the file's outputs have other shapes than the oracle's")
    channels, height, width = images.shape[1:]
    result = _counted(path, integer_model, expected, found, (channels, height, width))
    if result.own > _MOST * result.codes:
        raise UserError(
            f"--dynamic-size: for images of {shown} {result.own:,} of {result.codes:,} codes of the file are not the"
            " oracle's: leave it out, and please report the network"
        )
    return result


def _counted(
    path: Path, integer_model: GraphNetwork, expected: dict[str, Tensor], found: Codes, size: Size
) -> AtOtherSize:
    parts = {part.name: part for part in integer_model.modules() if isinstance(part, IntegerQuantizer)}
    differs: set[str] = set()
    codes = differing = own = 0
    for node in quantizers(read_model(path)):
        wanted, part = expected[node.name].numpy(), parts[node.name]
        shift = container_shift(found[node.name].dtype.name, part.lo, part.hi)
        wrong = found[node.name].astype(np.int32) - shift != wanted
        codes, differing = codes + wrong.size, differing + int(wrong.sum())
        if differs.isdisjoint(node.inputs):
            own += int(wrong.sum())
        if wrong.any():
            differs.add(node.name)
    return AtOtherSize(size=size, codes=codes, differing=differing, own=own)
