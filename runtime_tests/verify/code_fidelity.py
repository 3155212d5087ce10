"""Is it faithful: the codes of every runtime on a sample of images against the oracle's, and why they differ."""

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import onnx

from genq_export.config.build import BuildConfig
from genq_export.core.errors import BackendError, UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.network.onnx_graph import QuantizerNode, quantizers, read_model
from genq_export.runtimes.base import Backend, Batch, Codes, Outputs
from genq_export.runtimes.torch_modules import TorchBackend
from runtime_tests.verify.code_comparison import CodeComparison, largest_gap
from runtime_tests.verify.code_origin import origins
from runtime_tests.verify.constants import mismatches
from runtime_tests.verify.diagnosis.case import Case
from runtime_tests.verify.diagnosis.explain import explain
from runtime_tests.verify.diagnosis.probe_effect import explain_probe_effect
from runtime_tests.verify.lineage import unlike_classes, unlike_export, unlike_reference
from runtime_tests.verify.results import BackendFidelity
from runtime_tests.verify.runtime_pool import RuntimePool

# Outputs that move by less when codes are made outputs move by float rounding.
_MOVED = 1e-3


@dataclass
class _Compared:
    """One runtime's codes against the oracle's so far.

    first: (images, the oracle's codes, the runtime's codes) of the batch in which the earliest quantizer differs by
    itself, and not by a rounding tie where any does so; place: of that quantizer in the order of execution, behind all
    of them if it differs by ties alone, and behind that where none does by itself. output_shift:
    how far outputs of the first batch move when codes are made outputs of the graph.
    """

    comparison: CodeComparison
    truth: TorchBackend
    place: int
    first: tuple[Batch, Codes, Codes] | None = None
    output_shift: float | None = None

    def add(
        self, backend: Backend, batch: Batch, expected: tuple[Outputs, Codes], found: tuple[Outputs, Codes]
    ) -> None:
        """Count one batch of (outputs, codes). Raises BackendError where shapes differ or the backend fails."""
        own = self.comparison.add(expected, found)
        place = self._count_origins(batch, expected[1], self.comparison.unshifted(found[1]))
        if place is None and own is not None:
            place = len(expected[1]) + own
        if self.output_shift is None:
            self.output_shift = largest_gap(backend.outputs(batch), found[0])
        if self.first is None or (place is not None and place < self.place):
            self.first = (batch, expected[1], found[1])
            self.place = self.place if place is None else place

    def _count_origins(self, batch: Batch, expected: Codes, found: Codes) -> int | None:
        """Where all codes are equal none differs by itself. Returns the place of the first that is no tie."""
        if all((codes == expected[name]).all() for name, codes in found.items()):
            return None
        return self.comparison.add_origins(origins(self.truth, batch, found))

    def result(self) -> BackendFidelity:
        """What was counted."""
        return self.comparison.result().model_copy(update={"probe_output_shift": self.output_shift})


@dataclass
class _File:
    """`model.onnx` and its quantizers in topological order; nothing where it cannot be read."""

    model: onnx.ModelProto | None = None
    nodes: Sequence[QuantizerNode] = field(default_factory=tuple)


def compare_codes(
    pool: RuntimePool, sample: list[Batch], workspace: Workspace, limit: float, progress: Progress
) -> tuple[BackendFidelity, ...]:
    """Hold the codes of every open runtime against the oracle's, or the reference's where there is no oracle.

    A runtime that fails is lost to the pool.

    Args:
        pool: The open runtimes.
        sample: Images, float32 [B, C, H, W] each.
        workspace: The build folder.
        limit: Seconds that an answer of a runtime may take in an experiment.
        progress: Told what happens.
    """
    against = next((name for name in ("oracle", "reference") if name in pool.opened), None)
    names = [name for name in pool.opened if name != against]
    if against is None or not names:
        return ()
    truth = pool.opened[against]
    assert isinstance(truth, TorchBackend)
    file = _read(workspace)
    compared = {
        name: _Compared(CodeComparison(name, against, file.nodes), truth, 2 * len(file.nodes)) for name in names
    }
    progress.say(f"  {sum(map(len, sample))} images: codes of {', '.join(names)} against the {against}'s")
    with ThreadPoolExecutor(len(pool.opened)) as threads:
        for batch in progress.track(sample, len(sample), "compare codes"):
            _compare_batch(pool, threads, against, compared, batch)
    results = {name: item.result() for name, item in compared.items()}
    if file.model is None or against != "oracle":
        return tuple(results.values())
    cases = {
        name: Case(result, truth, item.first, file.model, file.nodes, results.get("onnxruntime-unfused"), limit)
        for name, result in results.items()
        if name != "reference" and (item := compared[name]).first is not None
    }
    explained = results | {name: explain(case) for name, case in cases.items()}
    if "openvino" in explained:
        explained["openvino"] = _with_probe_effect(explained["openvino"], file.model, sample[0], truth, limit)
    return tuple(explained.values())


def constant_mismatches(
    pool: RuntimePool, workspace: Workspace, config: BuildConfig, model: LoadedModel, notes: list[str]
) -> tuple[str, ...] | None:
    """What in the file is not the integer model's, and in that not the reference's; or other classes than were built.

    None where the file or the integer model cannot be read. Takes down in `notes` what could not be compared.
    """
    oracle = pool.opened.get("oracle")
    if not isinstance(oracle, TorchBackend):
        return None
    try:
        found = tuple(item.message for item in mismatches(read_model(workspace.path("model.onnx")), oracle.module))
        if not found:
            found, reason = unlike_export(workspace, config, model.input_size)
            notes += [reason] if reason is not None else []
    except (BackendError, UserError):
        return None
    found += unlike_classes(workspace, model.class_names)
    try:
        return (*found, *unlike_reference(workspace.folder))
    except UserError as error:
        return (*found, f"the integer model could not be held against the reference: {error}")


def _read(workspace: Workspace) -> _File:
    with contextlib.suppress(BackendError):
        model = read_model(workspace.path("model.onnx"))
        return _File(model, quantizers(model))
    return _File()


def _compare_batch(
    pool: RuntimePool, threads: ThreadPoolExecutor, against: str, compared: dict[str, _Compared], batch: Batch
) -> None:
    """All runtimes compute the batch at the same time; one that fails leaves the pool and the comparison."""
    at_work = {name: threads.submit(pool.opened[name].codes, batch) for name in (against, *compared)}
    expected = at_work[against].result()
    for name in list(compared):
        try:
            compared[name].add(pool.opened[name], batch, expected, at_work[name].result())
        except BackendError as error:
            pool.lose(name, error)
            del compared[name]


def _with_probe_effect(
    found: BackendFidelity, model: onnx.ModelProto, batch: Batch, oracle: TorchBackend, limit: float
) -> BackendFidelity:
    """Why outputs move while codes are watched, where they do."""
    if found.probe_output_shift <= _MOVED:
        return found
    reason, evidence = explain_probe_effect(model, batch, oracle.outputs(batch), limit)
    return found.model_copy(update={"probe_effect": reason, "evidence": found.evidence + evidence})
