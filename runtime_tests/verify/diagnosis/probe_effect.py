"""Why does OpenVINO answer otherwise when its codes are not outputs of the graph? Each suspicion is tested.

A tensor that is an output of the graph must be computed, so a session whose codes are read cannot fuse it away. Users
run one whose codes are not. Three experiments on one batch, each with OpenVINO's low-precision transformations on and
off; off, it computes the graph in float as it is written:

* the file as it is: are the transformations to blame at all?
* the quantizer between a convolution and the residual addition behind it left out: does that give what the
  transformations give?
* where OpenVINO saturates a sum that is known: all 8-bit weight codes halved, so that no sum of two products exceeds
  16 bits: is saturation to blame?
"""

import tempfile
from pathlib import Path

import numpy as np
import onnx

from genq_export.core.errors import BackendError
from genq_export.network.onnx_graph import layer_names, quantizers
from genq_export.network.outputs import LOGITS
from genq_export.runtimes.base import Batch, Outputs
from genq_export.runtimes.isolation.process import Worker, outputs_in
from genq_export.runtimes.isolation.protocol import Message
from genq_export.runtimes.openvino import OPENVINO, OPENVINO_AS_WRITTEN
from runtime_tests.verify.diagnosis.case import copy_of
from runtime_tests.verify.diagnosis.pair_sums import halve_weight_codes, known_sum, saturation_of

# An experiment explains a difference of outputs of which it leaves at most this share; single codes at the border of
# two leave more than nothing.
_FEW = 0.05


def explain_probe_effect(
    model: onnx.ModelProto, batch: Batch, expected: Outputs, limit: float
) -> tuple[str | None, tuple[str, ...]]:
    """Find out what the transformations change.

    Args:
        model: The deployed file.
        batch: float32 [B, C, H, W].
        expected: The oracle's outputs of the batch, float32 [B, ...] by name.
        limit: Seconds that an answer may take.

    Returns:
        One sentence without a full stop, or None where no experiment confirms a reason; and the evidence.
    """
    sessions = _Sessions(batch, limit)
    try:
        return _explain(sessions, model, expected)
    except BackendError as error:
        return None, (f"OpenVINO as users run it: the experiments failed: {error}",)
    finally:
        sessions.close()


def _explain(sessions: "_Sessions", model: onnx.ModelProto, expected: Outputs) -> tuple[str | None, tuple[str, ...]]:
    as_run, as_written = sessions.outputs(model, True), sessions.outputs(model, False)
    before, left = _gap(as_run, expected), _gap(as_written, expected)
    evidence = [
        f"as users run it, outputs are {before:.2g} off the oracle's on average{_answers(as_run, expected)}; with"
        f" low-precision transformations off {left:.2g}{_answers(as_written, expected)}"
    ]
    if left > _FEW * before:
        evidence.append("the low-precision transformations alone do not explain what watching changes")
        return None, tuple(evidence)
    blamed = (
        f"OpenVINO's low-precision transformations change the result: with them off outputs of one batch are {left:.2g}"
        f" off the oracle's on average{_answers(as_written, expected)}, with them on"
        f" {before:.2g}{_answers(as_run, expected)}"
    )
    reason = _reason(sessions, model, _gap(as_run, as_written), as_run, evidence)
    return blamed + (f". {reason}" if reason else ""), tuple(evidence)


def _reason(
    sessions: "_Sessions", model: onnx.ModelProto, before: float, as_run: Outputs, evidence: list[str]
) -> str | None:
    """What the transformations do: the change of the file, computed as written, that gives the same as they do."""
    fused, skipped = without_residual_rounding(model)
    halved, wide = _halved(model)
    unrounded = f"They add the results of {layer_names(skipped)} to the residual without rounding them to codes"
    saturating = saturation_of(wide)
    if skipped:
        left = _gap(as_run, sessions.outputs(fused, False))
        evidence.append(
            f"a copy without the quantizers {layer_names(skipped)}, computed as written, is {left:.2g} from what"
            f" OpenVINO gives as users run it; the file itself {before:.2g}"
        )
        if left <= _FEW * before:
            return unrounded
    known = known_sum("openvino", sessions.limit) if wide else None
    if known is None:
        return None
    evidence.append(known.evidence)
    if not known.saturates:
        return None
    as_run = sessions.outputs(halved, True)
    left = _gap(as_run, sessions.outputs(halved, False))
    evidence.append(
        f"with the weight codes of {layer_names(wide)} halved the transformations move outputs by {left:.2g}"
    )
    if left <= _FEW * before:
        return saturating[0].upper() + saturating[1:]
    if not skipped:
        return None
    left = _gap(as_run, sessions.outputs(_halved(fused)[0], False))
    evidence.append(f"halved and without these quantizers, the two are {left:.2g} apart")
    return f"{unrounded}, and {saturating}" if left <= _FEW * before else None


def without_residual_rounding(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """A copy in which one input of every addition, if it comes from a layer and feeds nothing else, is not quantized.

    Of two such inputs it is the first: the convolution that runtimes fuse the addition into. Also returns the names of
    the quantizers left out.
    """
    copy = copy_of(model)
    producer = {output: node for node in copy.graph.node for output in node.output}
    after_layers = {node.tensor: node.name for node in quantizers(copy) if node.layers and not node.feeds}
    skipped = []
    for node in copy.graph.node:
        for place, tensor in enumerate(node.input if node.op_type == "Add" else ()):
            dequantize = producer.get(tensor)
            if dequantize is None or dequantize.op_type != "DequantizeLinear":
                continue
            if dequantize.input[0] in after_layers:
                quantize = producer[dequantize.input[0]]
                while quantize.op_type != "QuantizeLinear":
                    quantize = producer[quantize.input[0]]
                node.input[place] = quantize.input[0]
                skipped.append(after_layers[dequantize.input[0]])
                break
    return copy, tuple(skipped)


def _halved(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """A copy with all 8-bit weight codes halved, and the layers they belong to."""
    copy = copy_of(model)
    layers = (node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul"))
    return copy, tuple(name for name in layers if halve_weight_codes(copy, name))


def _gap(first: Outputs, second: Outputs) -> float:
    """Mean difference of outputs: a single code more or less moves the largest far more than the mean."""
    gaps = [np.abs(array.astype(np.float64) - second[name]).ravel() for name, array in first.items()]
    return float(np.concatenate(gaps).mean())


def _answers(found: Outputs, expected: Outputs) -> str:
    """How many classes are the oracle's, where the network gives logits."""
    if list(expected) != [LOGITS]:
        return ""
    same = int((found[LOGITS].argmax(1) == expected[LOGITS].argmax(1)).sum())
    return f" and {same} of {len(expected[LOGITS])} answers are the oracle's"


class _Sessions:
    """OpenVINO in a process of its own, one file after another on the same batch."""

    def __init__(self, batch: Batch, limit: float) -> None:
        self._batch, self.limit = batch, limit
        self._worker = Worker(OPENVINO.name, limit)

    def outputs(self, model: onnx.ModelProto, transformed: bool) -> Outputs:
        """float32 [B, ...] by name with the low-precision transformations on or off. Raises BackendError."""
        kind = (OPENVINO if transformed else OPENVINO_AS_WRITTEN).name
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "copy.onnx"
            path.write_bytes(model.SerializeToString())
            self._worker.ask(Message({"op": "load", "kind": kind, "path": str(path), "threads": 1}))
        return outputs_in(self._worker.ask(Message({"op": "outputs"}, {"batch": self._batch})))

    def close(self) -> None:
        """End the process."""
        self._worker.close()
