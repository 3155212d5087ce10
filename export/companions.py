"""Files beside `model.onnx` that hold the same network in another form, each held against it before it counts."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.from_pixels import LEVELS, from_pixels, output_grids
from genq_export.config.export import ExportConfig
from genq_export.core.errors import BackendError, UserError, reason_of
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.network.onnx_graph import deployed_outputs, read_model
from genq_export.runtimes.load import PIXELS_FILE
from genq_export.runtimes.onnxruntime import plain_options, refuse_what_ends_the_process, session_options

ORT_FILE = "model.ort"
_IMAGES = 4


def write_companions(
    workspace: Workspace, model: LoadedModel, settings: ExportConfig, output_codes: bool = False
) -> dict[str, int]:
    """Write those that the settings want of the build's `model.onnx`; returns bytes by name.

    Raises:
        UserError: where one does not give the very outputs of `model.onnx`.
    """
    if settings.input == "float32" and not settings.ort_file:
        return {}
    path = workspace.path("model.onnx")
    pixels = np.random.default_rng(0).integers(0, LEVELS, (_IMAGES, *model.input_size)).astype(np.uint8)
    table = numbers_of_pixels(model)
    numbers = np.stack([table[channel][pixels[:, channel]] for channel in range(len(table))], 1)
    expected = _outputs(path.read_bytes(), numbers)
    contents: dict[str, bytes] = {}
    if settings.input != "float32":
        last, proto = settings.input == "uint8-nhwc", read_model(path)
        made = from_pixels(proto, table, last, output_codes)
        contents[PIXELS_FILE] = made.SerializeToString(deterministic=True)
        given = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)) if last else pixels
        grids, names = output_grids(proto) if output_codes else {}, deployed_outputs(proto)
        _held_against(expected, contents[PIXELS_FILE], given, PIXELS_FILE, [grids.get(name) for name in names])
    if settings.ort_file:
        contents[ORT_FILE] = in_ort_format(path)
        # Its integer kernels are chosen: where they saturate no option changes that, so neither file has it here.
        plain = _outputs(path.read_bytes(), numbers, plain_options(1))
        _held_against(plain, contents[ORT_FILE], numbers, ORT_FILE, options=plain_options(1))
    for name, content in contents.items():
        workspace.write_bytes(name, content)
    return {name: len(content) for name, content in contents.items()}


def numbers_of_pixels(model: LoadedModel) -> NDArray[np.float32]:
    """float32 [C, 256]: what the network takes for each pixel, channels in the network's order."""
    channels = model.input_size[0]
    levels = torch.arange(LEVELS, dtype=torch.uint8).view(1, 1, LEVELS, 1).expand(1, 1, LEVELS, channels)
    table: NDArray[np.float32] = model.normalize(levels)[0, :, 0].numpy()
    return table


def in_ort_format(path: Path) -> bytes:
    """The file as ONNX Runtime's own format, with its optimisations in it, for builds of it without an ONNX parser.

    As its conversion tool does in the style "Fixed": all optimisations but the layout of one processor's float kernels.
    """
    import onnxruntime

    options = plain_options(1)
    options.add_session_config_entry("session.save_model_format", "ORT")
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = os.path.join(folder, ORT_FILE)
        try:
            onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=["NchwcTransformer"]
            )
            return Path(options.optimized_model_filepath).read_bytes()
        except Exception as error:  # onnxruntime's exceptions have no public base class
            raise UserError(f"ONNX Runtime writes no {ORT_FILE}: {reason_of(error)}") from None


def _outputs(content: bytes, images: NDArray[np.generic], options: Any = None) -> list[NDArray[np.generic]]:
    """options: of the session; None: with exact sums."""
    import onnxruntime

    if options is None:
        _refuse_what_ends_the_process(content)
        options = session_options(1)
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    found: list[NDArray[np.generic]] = session.run(None, {session.get_inputs()[0].name: images})
    return found


def _refuse_what_ends_the_process(content: bytes) -> None:
    try:
        refuse_what_ends_the_process(content, "the build's file")
    except BackendError as error:
        raise UserError(str(error)) from None


def _held_against(
    expected: list[NDArray[np.generic]],
    content: bytes,
    images: NDArray[np.generic],
    name: str,
    grids: Sequence[tuple[float, int] | None] = (),
    options: Any = None,
) -> None:
    """grids: scale and zero-point of outputs that are codes there. options: see `_outputs`."""
    found = _outputs(content, images, options)
    for number, grid in enumerate(grids):
        if grid is not None:
            found[number] = (found[number].astype(np.float32) - np.float32(grid[1])) * np.float32(grid[0])
    if not all(np.array_equal(one, other) for one, other in zip(expected, found, strict=True)):
        raise UserError(
            f"{name} does not give the outputs of model.onnx on random pixels: leave it out and report this"
        )
