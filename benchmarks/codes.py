"""Do the codes of the deployed file equal the reference's? The zoo in ONNX Runtime's default session.

    python benchmarks/codes.py build/demo build/other       # builds for ONNX Runtime that exist
    python benchmarks/codes.py --calibration build/demo     # the zoo at W4A4 and W8A8, ranges on that build's images

One table on standard output: codes of every quantizer on 256 test images, and the answers on all test images. "At the
origin" are codes that differ although all codes in front of their quantizer are equal: the reference computes each
quantizer once more with the runtime's own codes in front of it. That the folded model equals the reference code by code
is what tests/export/test_fold.py shows.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A script's own folder is searched first, and a file there is named as our package `export` is.
# ruff: noqa: E402
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

import numpy as np
import onnx
import onnxruntime
import torch

from export.fold import fold
from export.onnx_qdq import export_onnx
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.data.calibration_set import kept_images
from genq_export.data.evaluation import EvaluationSet, load_images
from genq_export.models.loaded import LoadedModel
from genq_export.models.source import evaluation_set, load_model
from genq_export.network.files import load_reference
from genq_export.network.hooks import hand_on, record_codes
from genq_export.network.names import codes_tensor
from genq_export.pipeline.build import read_config
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.quantization.rounding_ties import avoid_ties
from genq_export.runtimes.onnxruntime import session_options
from genq_export.targets import rule_for
from genq_export.zoo import ZOO_MODELS

_CODE_IMAGES, _BATCH = 256, 64


def main() -> None:
    """Measure each build or network and print its row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("builds", nargs="*", type=Path)
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--networks", nargs="+", default=list(ZOO_MODELS))
    parser.add_argument("--grids", nargs="+", default=["4", "4-pow2", "8"], help="bits, with -pow2 for such scales")
    options = parser.parse_args()
    print(
        "| network | codes | differ | share | by at most | at the origin | by at most | first quantizer that differs |"
        " same answer |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for folder in options.builds:
        config = read_config(folder)
        show(f"{config.model.name} ({folder.name})", load_model(config.model), load_reference(folder), folder)
    if options.calibration is not None:
        for name in options.networks:
            for grid in options.grids:
                bits, _, scales = grid.partition("-")
                quantize_and_show(name, int(bits), scales or "float", options.calibration)


def quantize_and_show(name: str, bits: int, scales: Any, calibration: Path) -> None:
    """Quantize a network by ranges alone, export it, and print its row."""
    config = BuildConfig.for_model(name, bits=bits, scales=scales, preset="quick")
    model = load_model(config.model)
    rule = rule_for("onnxruntime")
    reference, _ = prepare(model.module, model.input_size, config.quantize, rule)
    images = load_images(kept_images(calibration / "calibration")[:_CODE_IMAGES], model)
    calibrate_ranges(reference, list(images.split(_BATCH)))
    avoid_ties(reference)
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(fold(reference), model.input_size, rule, Path(folder) / "model.onnx", int4_storage=True)
        show(f"{name} W{bits}A{bits}{' pow2' if scales == 'pow2' else ''}, ranges only", model, reference, Path(folder))


def show(title: str, model: LoadedModel, reference: Any, folder: Path) -> None:
    """Print one row."""
    images = evaluation_set(model, None)
    if images is None:
        raise UserError(f"{title}: no test images; this table is of the embedded zoo")
    found = compare_codes(model, images, reference, folder / "model.onnx")
    same, count = compare_answers(model, images, reference, folder / "model.onnx")
    cells = [
        title,
        f"{found.codes:,}",
        f"{found.differing:,}",
        f"{found.differing / found.codes:.1e}",
        str(found.largest),
        f"{found.own:,} ({found.own / found.codes:.1e})",
        str(found.largest_own),
        found.first or "none",
        f"{same:,} of {count:,}",
    ]
    print("| " + " | ".join(cells) + " |", flush=True)


@dataclass
class Difference:
    """Codes compared, how many differ, by how much at most, the same of those at the origin, and the first quantizer
    where one does."""

    codes: int = 0
    differing: int = 0
    largest: int = 0
    own: int = 0
    largest_own: int = 0
    first: str | None = None


def compare_codes(model: LoadedModel, images: EvaluationSet, reference: Any, path: Path) -> Difference:
    """Every quantizer's codes on the first test images."""
    found = Difference()
    session: onnxruntime.InferenceSession | None = None
    order: dict[str, bool] = {}
    for number, batch in enumerate(images.batches(model, _BATCH)):
        if number * _BATCH >= _CODE_IMAGES:
            break
        _, expected = record_codes(reference, batch)
        session = session or probed_session(path, list(expected))
        runtime = codes_of(session, batch, expected)
        own = own_gaps(reference, batch, runtime)
        for name, codes in runtime.items():
            gap = (codes - expected[name]).abs()
            found.codes += gap.numel()
            found.differing += int(gap.count_nonzero())
            found.largest = max(found.largest, int(gap.max()))
            found.own += int(own[name].count_nonzero())
            found.largest_own = max(found.largest_own, int(own[name].max()))
            order[name] = order.get(name, False) or bool(gap.any())
    found.first = next((name for name, differs in order.items() if differs), None)
    return found


def codes_of(
    session: onnxruntime.InferenceSession, batch: torch.Tensor, expected: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The runtime's codes by quantizer, int32; signed grids travel shifted by 128, which is taken out."""
    answers = session.run([codes_tensor(name) for name in expected], {"input": batch.numpy()})
    shifted = (torch.from_numpy(codes.astype(np.int32)) for codes in answers)
    return {name: codes - int((codes - expected[name]).median()) for name, codes in zip(expected, shifted, strict=True)}


def own_gaps(reference: Any, batch: torch.Tensor, runtime: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """By how much codes differ when every quantizer hands on the runtime's codes in place of its own."""
    gaps: dict[str, torch.Tensor] = {}

    def see(part: Any, _: torch.Tensor, codes: torch.Tensor) -> None:
        gaps[part.name] = (codes - runtime[part.name]).abs()

    hand_on(reference, batch, runtime, see)
    return gaps


def compare_answers(model: LoadedModel, images: EvaluationSet, reference: Any, path: Path) -> tuple[int, int]:
    """Test images with the same top-1 from the reference and the file, and how many there are."""
    session = onnxruntime.InferenceSession(str(path), session_options(), providers=["CPUExecutionProvider"])
    same = 0
    with torch.inference_mode():
        for batch in images.batches(model, 250):
            (logits,) = session.run(["logits"], {"input": batch.numpy()})
            same += int((reference(batch).argmax(1).numpy() == logits.argmax(1)).sum())
    return same, len(images)


def probed_session(path: Path, names: list[str]) -> onnxruntime.InferenceSession:
    """The default session of a copy of the file that also gives every quantizer's codes."""
    model = onnx.load(path)
    model.graph.output.extend(onnx.ValueInfoProto(name=codes_tensor(name)) for name in names)
    content = model.SerializeToString()
    return onnxruntime.InferenceSession(content, session_options(), providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
