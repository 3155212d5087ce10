"""One call from a file to a network that was checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genq_export.core.errors import UserError
from genq_export.models.onnx_import.assemble import Imported, assemble
from genq_export.models.onnx_import.check import answers_of, check
from genq_export.models.onnx_import.network import OnnxNetwork
from genq_export.models.onnx_import.reading import read_file

Size = tuple[int, int, int]
_COLOURS = (1, 3, 4)
_MOST_PIXELS = 2**26
_REMEDY = (
    "give --input-size CHANNELS,HEIGHT,WIDTH, or --dynamic-size where the integer file shall take any as well (with"
    " both, the size that it is calibrated on)"
)
_UNSAID = 224  # pixels along an axis that is free in the file and in the integer file


@dataclass(frozen=True)
class Loaded:
    """A network out of a file. classes: logits of an only output [B, classes], else 0. notes: what was decided."""

    network: OnnxNetwork
    input_size: Size
    classes: int
    notes: tuple[str, ...]


def load_network(
    path: Path, given: Size | None, wanted: Sequence[str] | None = None, dynamic_size: bool = False
) -> Loaded:
    """Read, translate and check a network.

    Args:
        path: of the file.
        given: the input size by the user; None: the file says it.
        wanted: names of tensors that are outputs in the place of the file's own.
        dynamic_size: it shall be made for other sizes as well; it is calibrated on 224 pixels where nothing says more.

    Raises:
        UserError: for what cannot be taken, with the node or the tensor and the remedy.
    """
    file = read_file(path, wanted)
    said = _said(file.shape, given) if dynamic_size else given
    size, channels_last = input_size(path, file.shape, said)
    answers = answers_of(file, size, channels_last)
    imported = assemble(file, size, channels_last)
    classes, notes = _classes(imported), file.notes
    check(imported, size, answers)
    network = imported.network
    if dynamic_size:
        spatial = file.shape[1:3] if channels_last else file.shape[2:]
        network.free_axes = (spatial[0] is None, spatial[1] is None)
        network.at = lambda other: load_network(path, other, wanted).network
        if said != given:
            notes = (*notes, f"{path} says no size: calibrated on {size[1]} x {size[2]} (--input-size names another)")
    del file, imported
    _in_order(network)
    return Loaded(network, size, classes, notes)


def _in_order(network: OnnxNetwork) -> None:
    """Give turned weights memory of their own, one after the other."""
    for parameter in network.parameters():
        parameter.data = parameter.data.contiguous()


def _said(shape: tuple[int | None, ...], given: Size | None) -> Size | None:
    """The size that a file is calibrated on which says none and shall take any; what the file fixes stays."""
    if given is not None or len(shape) != 4 or None not in shape[1:]:
        return given
    channels_last = shape[3] in _COLOURS and shape[1] not in _COLOURS
    own = (shape[3], shape[1], shape[2]) if channels_last else shape[1:]
    return (own[0] or 3, own[1] or _UNSAID, own[2] or _UNSAID)


def input_size(path: Path, shape: tuple[int | None, ...], given: Size | None) -> tuple[Size, bool]:
    """The (channels, height, width) of a file's input, and whether the file has the channels last.

    Args:
        path: of the file, for messages.
        shape: of its input, None where it is free.
        given: by the user.

    Raises:
        UserError: where the two do not fit, or neither says it.
    """
    if len(shape) != 4:
        raise UserError(f"{path} takes a tensor of {len(shape)} axes; images are [batch, channels, height, width]")
    if shape[0] not in (None, 1):
        raise UserError(
            f"{path} is written for {shape[0]} images at once; export it with a free batch"
            " (dynamic_axes={'input': {0: 'batch'}}) or for one image"
        )
    channels_last = shape[3] in _COLOURS and shape[1] not in _COLOURS
    own = (shape[3], shape[1], shape[2]) if channels_last else shape[1:]
    if given is None:
        if None in own:
            free = ",".join("?" if part is None else str(part) for part in own)
            raise UserError(f"{path} takes images of any size ({free}): {_REMEDY}")
        given = own  # type: ignore[assignment]
    assert given is not None
    if any(part is not None and part != wanted for part, wanted in zip(own, given, strict=True)):
        fixed = ",".join("?" if part is None else str(part) for part in own)
        raise UserError(f"{path} takes images of {fixed}, not of {','.join(map(str, given))}: leave --input-size out")
    if given[0] * given[1] * given[2] > _MOST_PIXELS:
        raise UserError(f"{path} takes images of {'x'.join(map(str, given))}, which are too large to be computed here")
    return given, channels_last


def _classes(imported: Imported) -> int:
    """The numbers of an only output that is a vector of some."""
    shapes = [sizes.offset for sizes in imported.shapes.values()]
    return shapes[0][1] if len(shapes) == 1 and len(shapes[0]) == 2 else 0
