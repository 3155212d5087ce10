"""What a build must meet to pass; for a gate that fails, one message that says which figure or layer is to blame."""

from collections.abc import Sequence
from typing import Protocol

from genq_export.config.quantize import QuantizeConfig
from genq_export.config.registry import RUNTIMES
from genq_export.config.verify import GatesConfig
from genq_export.network.onnx_graph import layer_names
from genq_export.runtimes import runtime, runtime_titles
from genq_export.tasks.task import task_of
from runtime_tests.verify.code_gates import (
    CODE_MATCH_NARROW,
    CODE_MATCH_WIDE,
    Compared,
    code_match,
    layer_codes,
    outputs,
)
from runtime_tests.verify.gate import Gate, Ungated, gate
from runtime_tests.verify.label_figures import labels_gate, points_lost
from runtime_tests.verify.results import (
    REFERENCE,
    UNQUANTIZED,
    BackendFidelity,
    OutputDistance,
    Verification,
)
from runtime_tests.verify.task_answers import answers_gate
from runtime_tests.verify.weight_faults import learns_weights, not_rounded, strayed, unrelated

# Points of top-1 that a grid may cost, by the smaller of weight and activation bits. Ours: about twice what the
# published results with real data lose on ImageNet, so that only something broken or unusually fragile fails.
ACCURACY_LOSS = {2: 20.0, 3: 5.0, 4: 1.5, 5: 1.0, 6: 0.7, 7: 0.5, 8: 0.5}
# Outputs against float, dB, by the smaller of weight and activation bits; docs/limits.md has what they were set by.
FLOAT_SQNR = {2: -3.0, 3: -1.0, 4: 1.0, 5: 4.0, 6: 8.0, 7: 12.0, 8: 15.0}
REFIT_SQNR = 10.0  # dB: what a network with ReLU for GELU has to keep
GRAPH_SQNR = 40.0  # dB: float32 sums in another order leave 100 dB and more
# Over FP16 on a GPU: where integers gain less, FP16 is closer to float and as fast.
GPU_SPEEDUP = 1.02
ADDED_NOISE = 1.0  # dB: single codes at a border move an output by far less
_EXACT = 300.0  # dB, of outputs without any difference
_RANDOM = "random"  # numbers that are no images say nothing of either network


class AuditedLayer(Protocol):
    """What the gates look at in a layer of the export's audit.

    integer: the runtime computes it in integers. on_purpose: the config keeps it in float.
    """

    @property
    def name(self) -> str: ...
    @property
    def integer(self) -> bool: ...
    @property
    def on_purpose(self) -> bool: ...


def check(
    run: Verification, audit: Sequence[AuditedLayer], config: GatesConfig, grids: QuantizeConfig
) -> tuple[tuple[Gate, ...], tuple[Ungated, ...]]:
    """Judge one run.

    Args:
        run: What was measured.
        audit: Layers of the deployed file; none where the export left no audit.
        config: Thresholds that the build sets itself.
        grids: The bits that the others follow from.

    Returns:
        The gates, and those that do not apply here.
    """
    gates: list[Gate] = []
    skipped: list[Ungated] = []
    for outcome in (
        _accuracy(run, config, grids),
        *([] if task_of(run.task).has_logits else [answers_gate(run, grids)]),
        _agreement(run, config),
        *against_float(run, config, grids),
        *_codes(run, config, grids),
        _constants(run),
        _runtimes(run),
        _integers(audit, config),
        _speed(run, config),
        _size(run, config),
    ):
        if isinstance(outcome, Gate):
            gates.append(outcome)
        else:
            skipped.append(outcome)
    return tuple(gates), tuple(skipped)


def accuracy_loss(run: Verification) -> float | None:
    """Points of top-1, mAP or mIoU that the deployed file loses against float; None without labels or either."""
    if run.against_labels:
        return points_lost(run)
    if "float" not in run.accuracy or run.deployed not in run.accuracy:
        return None
    return 100 * (run.accuracy["float"].top1 - run.accuracy[run.deployed].top1)


def deployed_agreement(run: Verification) -> float | None:
    """Share of images on which the deployed file and the reference give the same class."""
    return run.agreement.get(f"{run.deployed}_vs_reference")


def integer_share(audit: Sequence[AuditedLayer]) -> float | None:
    """Share of audited layers that compute in integers, less those kept in float on purpose; None without an audit."""
    judged = [layer for layer in audit if not layer.on_purpose]
    return sum(layer.integer for layer in judged) / len(judged) if judged else None


def deployed_fidelity(run: Verification) -> BackendFidelity | None:
    """Code comparison of the deployed file against the oracle (or the reference)."""
    return next((item for item in run.fidelity if item.backend == run.deployed), None)


def _accuracy(run: Verification, config: GatesConfig, grids: QuantizeConfig) -> Gate | Ungated:
    name = "accuracy_loss"
    if not task_of(run.task).has_logits:
        return labels_gate(run, config, grids)
    if run.evaluation is None:
        return Ungated(name=name, reason="no evaluation images: give a labelled folder with --eval")
    if not run.evaluation.labelled:
        return Ungated(name=name, reason=f"{run.evaluation.name} has no labels: only agreement with float was measured")
    usual = ACCURACY_LOSS[min(grids.weight_bits, grids.activation_bits)]
    limit = usual if config.max_accuracy_loss is None else config.max_accuracy_loss
    loss = accuracy_loss(run)
    if loss is None:
        message = f"the accuracy of {run.deployed} could not be measured{_failure(run, run.deployed)}"
    else:
        message = f"top-1 fell by {loss:.2f} points, {limit:.2f} are allowed at {grids.grid_name}{_lossy_step(run)}"
    return gate(name, "Accuracy loss, points of top-1", loss, limit, False, message)


def _lossy_step(run: Verification) -> str:
    """Did quantizing or deploying lose it, and which layer is weakest?"""
    reference = run.accuracy.get("reference")
    if reference is None or run.deployed == "reference":
        return ""
    by_quantizing = 100 * (run.accuracy["float"].top1 - reference.top1)
    by_deploying = 100 * (reference.top1 - run.accuracy[run.deployed].top1)
    if by_deploying > by_quantizing:
        return f": {by_deploying:.2f} of them between the reference and {_title(run)}"
    measured = [layer for layer in run.layers if layer.sqnr_db is not None]
    weakest = min(measured, key=lambda layer: layer.sqnr_db or 0.0, default=None)
    where = f"; the noisiest layer is {weakest.name} ({weakest.sqnr_db:.1f} dB)" if weakest is not None else ""
    return f": the reference already loses {by_quantizing:.2f}{where}"


def _agreement(run: Verification, config: GatesConfig) -> Gate | Ungated:
    name, title = "agreement", "Deployed file agrees with the reference"
    if not task_of(run.task).has_logits:
        return Ungated(name=name, reason=_no_classes(run))
    if run.evaluation is None:
        return Ungated(name=name, reason="no evaluation images")
    value = deployed_agreement(run)
    if value is None:
        message = f"{run.deployed} could not be held against the reference{_failure(run, run.deployed, 'reference')}"
    else:
        differing, n = round((1 - value) * run.evaluation.n), run.evaluation.n
        message = f"{_title(run)} and the reference differ on {differing:,} of {n:,} images{first_divergence(run)}"
    return gate(name, title, value, config.min_agreement, True, message)


def _no_classes(run: Verification) -> str:
    return f"the network gives no class of an image: its task is {task_of(run.task).title}"


def against_float(run: Verification, config: GatesConfig, grids: QuantizeConfig) -> list[Gate | Ungated]:
    """From the float network to the file, step by step: the graph, its weights, and the whole."""
    return [
        _graph(run, grids),
        _weights(run, grids),
        _ranges(run, grids),
        _float_sqnr(run, config, grids),
        _added_noise(run),
    ]


def _graph(run: Verification, grids: QuantizeConfig) -> Gate | Ungated:
    """No setting: without quantizers the reference is float, up to the order of sums and what was refitted."""
    name, title = "graph", "Reference without quantizers against float"
    found = min((item for item in run.from_float if item.backend == UNQUANTIZED), key=_sqnr, default=None)
    if found is None:
        return Ungated(name=name, reason="there is no reference, or an earlier release measured")
    message = (
        f"with its quantizers off the reference is {_sqnr(found):.1f} dB from float on {found.n} {found.images} images:"
        " its graph or its float weights are not the network's"
    )
    least = GRAPH_SQNR
    if grids.uses("relu_refit"):
        message += "; ReLU in the place of GELU is part of that (quantize.relu_refit.steps=0 leaves GELU)"
        least = REFIT_SQNR
    return gate(name, title, _sqnr(found), least, True, message)


def _weights(run: Verification, grids: QuantizeConfig) -> Gate | Ungated:
    """No setting: codes, scales and biases are those of their float weights, channel by channel where none learned."""
    name, title = "weights", "Weights unlike their float weight"
    rounded = [item for item in run.weights if item.worst_channel is not None and not learns_weights(grids)]
    if not rounded and all(item.relation is None for item in run.weights):
        return Ungated(name=name, reason="there is no reference, or an earlier release measured")
    found = (*unrelated(run.weights), *not_rounded(rounded))
    return _none_of(name, title, found, "all codes stand for their float weights")


def _ranges(run: Verification, grids: QuantizeConfig) -> Gate | Ungated:
    """No setting: scales are those that the calibration images ask for, or learned from there."""
    name, title = "ranges", "Activation scales unlike those searched anew"
    if not run.ranges:
        return Ungated(name=name, reason="the calibration images are not here, or an earlier release measured")
    return _none_of(name, title, tuple(strayed(run.ranges, grids)), "all scales are those of the calibration images")


def _none_of(name: str, title: str, found: tuple[str, ...], otherwise: str) -> Gate:
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return gate(name, title, float(len(found)), 0.0, False, found[0] + more if found else otherwise)


def deployed_from_float(run: Verification) -> OutputDistance | None:
    """The deployed file against float on the set where it is furthest; None where float was not looked at."""
    measured = [item for item in run.from_float if item.backend == run.deployed and item.images != _RANDOM]
    return min(measured, key=_sqnr, default=None)


def _float_sqnr(run: Verification, config: GatesConfig, grids: QuantizeConfig) -> Gate:
    """The whole of it against float, the fake-quant reference's own faults included."""
    name, title = "float_sqnr", "Outputs against float, signal to noise"
    usual = FLOAT_SQNR[min(grids.weight_bits, grids.activation_bits)]
    limit = usual if config.min_float_sqnr is None else config.min_float_sqnr
    found = deployed_from_float(run)
    if found is None:
        message = f"outputs of {_title(run)} could not be held against float{_failure(run, run.deployed)}"
        return gate(name, title, None, limit, True, message)
    message = (
        f"{_named(run, found)} {_sqnr(found):.1f} dB from float on {found.n} {found.images} images,"
        f" {limit:.1f} dB are needed at {grids.grid_name}"
    )
    return gate(name, title, _sqnr(found), limit, True, message)


def _named(run: Verification, found: OutputDistance) -> str:
    several = len({item.output for item in run.from_float}) > 1
    return f"output '{found.output}' of {_title(run)} is" if several else f"outputs of {_title(run)} are"


def _added_noise(run: Verification) -> Gate | Ungated:
    """What is between the reference and the deployed file, in dB of the distance from float: none, but for rounding."""
    name, title = "added_noise", "Noise that deploying adds"
    measured = {
        (item.backend, item.images, item.output): _sqnr(item) for item in run.from_float if item.images != _RANDOM
    }
    added = [
        measured[REFERENCE, images, output] - measured[run.deployed, images, output]
        for backend, images, output in measured
        if backend == run.deployed and (REFERENCE, images, output) in measured
    ]
    if not added:
        return Ungated(name=name, reason="the reference and the deployed file were not both held against float")
    message = f"deploying adds {max(added):.1f} dB to the reference's own distance from float"
    return gate(name, title, max(added), ADDED_NOISE, False, message)


def _sqnr(item: OutputDistance) -> float:
    """No difference at all is better than any figure."""
    return _EXACT if item.sqnr_db is None else item.sqnr_db


def _codes(run: Verification, config: GatesConfig, grids: QuantizeConfig) -> list[Gate | Ungated]:
    """Layer by layer, and what comes of it."""
    failure = _failure(run, run.deployed, "oracle", "reference")
    compared = Compared(_title(run), deployed_fidelity(run), first_divergence(run), failure)
    required = config.min_code_match
    if required is None:
        # Float arithmetic in the target's place: other ties, no integers.
        stands_in = run.deployed in RUNTIMES and runtime(run.deployed).purpose != "deployment"
        narrow = max(grids.weight_bits, grids.activation_bits) <= 4 and not stands_in
        required = CODE_MATCH_NARROW if narrow else CODE_MATCH_WIDE
    seen = [_sqnr(item) for item in run.from_float if item.backend == REFERENCE and item.images != _RANDOM]
    return [code_match(compared, required), layer_codes(compared), outputs(compared, min(seen, default=None))]


def _constants(run: Verification) -> Gate:
    """No setting: a file that holds other numbers than the integer model is not this build's file."""
    name, title = "constants", "Constants unlike the integer model's"
    if run.constants is None:
        message = f"the file or the integer model could not be read{_failure(run, run.deployed, 'oracle')}"
        return gate(name, title, None, 0.0, False, message)
    more = f" and {len(run.constants) - 1} other constants differ" if len(run.constants) > 1 else ""
    message = run.constants[0] + more if run.constants else "all constants are those of the integer model"
    return gate(name, title, float(len(run.constants)), 0.0, False, message)


def _runtimes(run: Verification) -> Gate:
    """No setting: what crashed, hung or stopped in the middle was not measured to the end, whatever the others say."""
    failed = [item for item in run.backends if item.status == "failed"]
    message = "; ".join(item.detail or f"{item.name} failed" for item in failed) or "every runtime came through"
    return gate("runtimes", "Runtimes that crashed or hung", float(len(failed)), 0.0, False, message)


def first_divergence(run: Verification) -> str:
    """Where codes of the deployed file first differ and why, as the end of a sentence; empty where none do."""
    item = deployed_fidelity(run)
    if item is None or (item.first_diverging is None and not item.missing):
        return ""
    where = f"; codes first differ at {item.first_diverging}" if item.first_diverging else ""
    return where + (f" ({item.explanation})" if item.explanation else "")


def _integers(audit: Sequence[AuditedLayer], config: GatesConfig) -> Gate | Ungated:
    name, title = "integer_share", "Layers that compute in integers"
    value = integer_share(audit)
    if value is None:
        return Ungated(name=name, reason="the export left no audit")
    floating = [layer.name for layer in audit if not (layer.integer or layer.on_purpose)]
    shown = layer_names(floating[:3] if len(floating) <= 3 else [*floating[:2], f"{len(floating) - 2} more"])
    message = f"{len(floating)} of {len(audit)} layers compute in float: {shown}"
    return gate(name, title, value, config.min_integer_share, True, message)


def _speed(run: Verification, config: GatesConfig) -> Gate | Ungated:
    name, title = "speedup", "Speed-up over float"
    on_gpu = run.latency is not None and _is_on_gpu(run.latency.deployed_runtime)
    least = GPU_SPEEDUP if config.min_speedup is None and on_gpu else config.min_speedup
    if least is None:
        return Ungated(name=name, reason="no speed-up was asked for (verify.gates.min_speedup)")
    if run.latency is None:
        return gate(name, title, None, least, True, "latency was not measured on this machine")
    value = run.latency.speedup if run.latency.significant else 1.0  # what is within the noise is no difference
    pace = f"{run.latency.deployed_ms:.2f} ms against {run.latency.float_ms:.2f} ms in {'FP16' if on_gpu else 'float'}"
    message = f"{pace}: {value:.2f} times the speed"
    if on_gpu and value < GPU_SPEEDUP:
        message += "; ship FP16, which is closer to float"
    return gate(name, title, value, least, True, message)


def _is_on_gpu(name: str) -> bool:
    return name in RUNTIMES and runtime(name).on_gpu


def _size(run: Verification, config: GatesConfig) -> Gate | Ungated:
    name, title = "size", "Deployed size, share of float"
    if config.max_size_share is None:
        return Ungated(name=name, reason="no size was asked for (verify.gates.max_size_share)")
    value = run.size.deployed_bytes / run.size.float_bytes if run.size is not None else None
    message = "sizes are not known"
    if run.size is not None:
        message = f"the deployed file has {run.size.deployed_bytes:,} bytes, the float file {run.size.float_bytes:,}"
    return gate(name, title, value, config.max_size_share, False, message)


def _title(run: Verification) -> str:
    """The deployed backend as a reader knows it."""
    return runtime_titles().get(run.deployed, run.deployed)


def _failure(run: Verification, *names: str) -> str:
    details = [item.detail for item in run.backends if item.name in names and item.status != "ok" and item.detail]
    return f": {'; '.join(details)}" if details else ""
