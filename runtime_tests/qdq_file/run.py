"""`genq-export verify-file`: does a runtime compute what a QDQ file says?

The reference is the file's own graph, computed operator by operator in float, with every optimisation off. Users run
another thing: a session that fuses quantizers and layers to integer kernels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from export.audit.least_code import note_of_least_codes
from genq_export.core.errors import BackendError, UserError
from genq_export.core.progress import Progress
from runtime_tests.qdq_file.copies import watched
from runtime_tests.qdq_file.experiments.saturation import SATURATING
from runtime_tests.qdq_file.experiments.scene import REFERENCE
from runtime_tests.qdq_file.graph import Graph
from runtime_tests.qdq_file.inputs import Feeds, Pixels, image_samples, inputs_of, random_samples
from runtime_tests.qdq_file.loading import Manner
from runtime_tests.qdq_file.read import QdqFile, read_qdq
from runtime_tests.qdq_file.result import FileVerification, RuntimeFidelity
from runtime_tests.qdq_file.runtime import Reference, compare_runtime
from runtime_tests.qdq_file.session import Opened

RUNTIMES: tuple[Manner, ...] = (Manner("onnxruntime"), Manner("openvino"))
EXACT: tuple[Manner, ...] = (Manner("onnxruntime", exact_sums=True), Manner("openvino"))


@dataclass(frozen=True)
class Wish:
    """How a file is to be run.

    images: a folder of pictures; None: random numbers. pixels: what a pixel stands for; None: the range of the input's
    quantizer. count: runs at most. shapes: of inputs by name. limit: seconds that one answer may take.
    """

    images: Path | None = None
    pixels: Pixels | None = None
    count: int = 8
    seed: int = 0
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    limit: float = 300.0


def verify_file(path: Path, wish: Wish, progress: Progress, runtimes: Sequence[Manner] = RUNTIMES) -> FileVerification:
    """Hold the codes of a file in every runtime that is installed against its own graph in float.

    Raises:
        UserError: where the file is refused, its input cannot be made, or its graph does not run in float.
    """
    file = read_qdq(path)
    samples, source = _samples(file, wish)
    try:
        with Opened(watched(file.model, file.quantizers), REFERENCE, wish.limit) as opened:
            title = f"{opened.title}, optimisations off"
            progress.say(f"  {len(samples)} runs on {source}: {len(file.quantizers)} quantizers in {title}")
            reference = _reference(file, samples, opened)
    except BackendError as error:
        raise UserError(f"{path}: its graph does not run in float: {error}") from None
    compared = [compare_runtime(file, reference, manner, wish.limit, progress) for manner in runtimes]
    made_by = f"{file.model.producer_name} {file.model.producer_version}".strip()
    return FileVerification(
        file=path, sha256=file.sha256, producer=made_by or None,
        opset=max((entry.version for entry in file.model.opset_import if entry.domain in ("", "ai.onnx")), default=0),
        quantizers=len(file.quantizers), runs=len(samples), source=source, reference=title,
        runtimes=tuple(compared), notes=(*_notes(file), *_advice(compared)),
    )  # fmt: skip


def _samples(file: QdqFile, wish: Wish) -> tuple[list[Feeds], str]:
    inputs = inputs_of(file.model, file.quantizers, wish.shapes)
    if wish.images is not None:
        return image_samples(inputs, wish.images, wish.count, wish.pixels)
    return list(random_samples(inputs, wish.count, wish.seed)), f"random numbers, seed {wish.seed}"


def _reference(file: QdqFile, samples: Sequence[Feeds], opened: Opened) -> Reference:
    names = [part.name for part in file.model.graph.output]
    tensors = [item.tensor for item in file.quantizers]
    outputs, codes = [], []
    for sample in samples:
        found = opened.run(sample, list(dict.fromkeys([*names, *tensors])))
        outputs.append({name: found[name] for name in names})
        codes.append({name: found[name] for name in tensors})
    return Reference(samples, outputs, codes)


def _notes(file: QdqFile) -> tuple[str, ...]:
    """Quantizers that are not held against anything, and weights that another processor multiplies wrong."""
    graph = Graph(file.model)
    nodes = [node for node in file.model.graph.node if node.op_type == "QuantizeLinear"]
    constant = sum(node.input[0] not in graph.live for node in nodes)
    other = len(nodes) - constant - len(file.quantizers)
    told = [f"{constant} quantizers of weights are constants, and were not compared"] if constant else []
    told += [f"{other} quantizers give no integers, and were not compared"] if other else []
    least = note_of_least_codes(ir.from_proto(file.model))
    return (*told, *([least] if least else []))


def _advice(compared: Sequence[RuntimeFidelity]) -> list[str]:
    """What a user of ONNX Runtime does about sums that saturate."""
    explained = {part.explanation for item in compared if item.runtime == "onnxruntime" for part in item.quantizers}
    if SATURATING not in explained:
        return []
    return ["--exact-sums shows what else differs in ONNX Runtime; applications set session.x64quantprecision=1"]
