"""A network of a Python program, quantized in one call: `genq_export.quantize(net, images)`."""

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibrate.sources.own_images import evenly
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.notebook import in_notebook, without_hints
from genq_export.core.progress import Progress
from genq_export.data.given_images import write_pictures
from genq_export.pipeline.build import build
from genq_export.pipeline.quantized import BUILD, Quantized

if TYPE_CHECKING:
    from torch import nn

_WITHOUT_IMAGES = "leaves"
_OTHER_IMAGES = ("generator", "calibration_set", "real")  # options that say where images come from


def quantize(
    net: "nn.Module | str | PathLike[str]",
    images: "str | PathLike[str] | Iterable[Any] | None" = None,
    bits: int = 4,
    target: str = "onnxruntime",
    *,
    settings: Sequence[str] = (),
    progress: Progress | None = None,
    **options: Any,
) -> Quantized:
    """Quantize, export and verify a network in a temporary folder, which goes with the object that is returned.

    Args:
        net: a module; or what `genq-export build` takes: a file (`net.onnx`, `net.pt2`, `mynet.py:make`), a name.
        images: to calibrate on: a folder or another source of files as `--calibration` takes it; an array or tensor of
            uint8, or of floats in [0, 1], [N, C, H, W] or [N, H, W, C]; or an iterable of images or of batches, with
            labels behind them or not. They are pictures: the network's own preprocessing follows. At most
            `calibrate.images` are used. None: none are needed, dead leaves are drawn.
        bits: of weights and activations.
        target: what the file is made for.
        settings: any other field as `section.field=value`.
        progress: where to say what is done; None: below the cell in a notebook, nowhere else.
        options: those of `BuildConfig.for_model` by name: `input_size`, `mean`, `std`, `preset`, `evaluation`, ….

    Raises:
        UserError: for bad input or missing pieces. A failed gate is none: see `Quantized.report`.
    """
    name, module = _named(net)
    place = Path(tempfile.mkdtemp(prefix="genq-export-"))
    try:
        given = options | _source(images, options, place)
        config = BuildConfig.for_model(name, settings=settings, bits=bits, target=target, **given)
        _write(images, place, config.calibrate.images)
        with without_hints():
            build(config, place / BUILD, progress or Progress(quiet=not in_notebook()), module)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return Quantized(place)


def _named(net: "nn.Module | str | PathLike[str]") -> "tuple[str, nn.Module | None]":
    """The name that a build goes by, and the module that there is."""
    if isinstance(net, str):
        return net, None
    if isinstance(net, PathLike):
        path = Path(fspath(net))
        return (f"./{path}" if path.is_dir() and len(path.parts) == 1 else str(path)), None
    from torch import nn

    if not isinstance(net, nn.Module):
        raise UserError(f"the network is {type(net).__name__}: a torch.nn.Module, a file or a name is taken")
    return type(net).__name__, net


def _source(images: object, options: dict[str, Any], place: Path) -> dict[str, Any]:
    """Options for where images come from."""
    said = [name for name in _OTHER_IMAGES if options.get(name) is not None]
    if images is None:
        return {} if said else {"generator": _WITHOUT_IMAGES}
    if said:
        raise UserError(f"images and {said[0]} both say what to calibrate on: leave one of them out")
    if isinstance(images, int):
        raise UserError(f"images={images} is a number: how many are drawn says settings=['calibrate.images={images}']")
    return {"calibration_set": Path(images) if isinstance(images, str | PathLike) else _folder(place)}


def _folder(place: Path) -> Path:
    return place / "images"


def _write(images: "str | PathLike[str] | Iterable[Any] | None", place: Path, most: int) -> None:
    """Store what was given in memory; of what can be counted some from everywhere, as it may be sorted by class."""
    if images is None or isinstance(images, str | PathLike):
        return
    counted = isinstance(images, Sequence) or hasattr(images, "ndim")
    if counted and len(images) > most and getattr(images, "ndim", 4) == 4:  # type: ignore[arg-type]
        images = [images[number] for number in evenly(len(images), most)]  # type: ignore[index, arg-type]
    write_pictures(images, _folder(place), most)
