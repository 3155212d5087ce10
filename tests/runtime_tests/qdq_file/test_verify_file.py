"""Any QDQ file against its own graph in float: where codes differ, whose fault it is, and what is refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, quantize_dynamic
from PIL import Image

from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.runtimes.isolation.environment import PYTHON
from genq_export.runtimes.onnxruntime import sums_saturate
from runtime_tests.qdq_file import session
from runtime_tests.qdq_file.inputs import Pixels
from runtime_tests.qdq_file.loading import Manner
from runtime_tests.qdq_file.read import read_qdq
from runtime_tests.qdq_file.result import FileVerification, RuntimeFidelity
from runtime_tests.qdq_file.run import Wish, verify_file
from tests.runtime_tests.qdq_file.files import SIZE, attention, quantized, residual

QUIET = Progress(quiet=True)
ORT = (Manner("onnxruntime", exact_sums=True),)  # on every processor, so that nothing saturates


@pytest.fixture(scope="module")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantized(residual(), tmp_path_factory.mktemp("cnn"))


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantized(attention(), tmp_path_factory.mktemp("transformer"))


def verified(path: Path, wish: Wish | None = None, runtimes: tuple[Manner, ...] = ORT) -> FileVerification:
    return verify_file(path, wish or Wish(count=4), QUIET, runtimes)


def only(found: FileVerification) -> RuntimeFidelity:
    (item,) = found.runtimes
    assert item.problem is None
    return item


def test_a_convolutional_network_is_computed_in_integers_and_differs_at_borders_alone(cnn: Path) -> None:
    found = verified(cnn)
    item = only(found)
    assert found.quantizers == len(item.quantizers) > 6 and item.codes > 10_000
    assert not found.unexplained and item.differing < 0.01 * item.codes
    assert item.layers is not None and all(layer.integer for layer in item.layers) and len(item.layers) == 4
    assert all("border" in (part.explanation or "") for part in item.quantizers if part.by_itself)


def test_the_softmax_of_a_transformer_is_named_with_its_kernel(transformer: Path) -> None:
    item = only(verified(transformer))
    own = {part.operator: part for part in item.quantizers if part.by_itself}
    assert "QLinearSoftmax" in (own["Softmax"].explanation or "")
    assert own["Softmax"].own_largest == 1 and any("0 codes differ" in line for line in own["Softmax"].evidence)
    assert item.first == own["Softmax"].tensor
    assert any(part.differing and not part.by_itself for part in item.quantizers), "what is behind it inherits"
    assert any("basic optimisations alone 0 codes" in line for line in item.evidence)


def test_a_float_bias_that_integers_cannot_hold_is_the_reason(cnn: Path, tmp_path: Path) -> None:
    model = onnx.load(cnn)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}

    def change(name: str, value: np.ndarray) -> None:
        tensors[name].CopyFrom(numpy_helper.from_array(value, name))

    weights, scales = (numpy_helper.to_array(tensors[f"second.w_{part}"]) for part in ("quantized", "scale"))
    change("second.w_quantized", np.rint(weights / 60).astype(np.int8))
    change("second.w_scale", (scales * 60).astype(np.float32))
    (bias,) = (node for node in model.graph.node if node.output[0] == "second.b")
    model.graph.node.remove(bias)
    step = numpy_helper.to_array(tensors["act1_scale"]) * numpy_helper.to_array(tensors["second.w_scale"])
    model.graph.initializer.append(numpy_helper.from_array((step * 0.4).astype(np.float32), "second.b"))
    path = tmp_path / "planted.onnx"
    onnx.save(model, path)
    found = verified(path)
    (part,) = (part for part in only(found).quantizers if part.tensor.startswith("second_"))
    assert part.own and "rounds the float bias" in (part.explanation or "") and not found.unexplained


def test_a_runtime_with_a_fault_is_found_at_its_layer_and_not_explained_away(
    cnn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty = (*PYTHON, "-m", "tests.runtime_tests.qdq_file.faulty_worker")
    monkeypatch.setattr(session, "WORKER", faulty)
    found = verified(cnn)
    item = only(found)
    (part,) = (part for part in item.quantizers if part.unexplained)
    assert found.unexplained and part.tensor == item.first and part.operator == "Conv" and part.own_largest > 1
    assert part.inputs == ("x_QuantizeLinear_Output",) and part.evidence


def test_pictures_go_in_as_the_input_tells_them_apart_or_as_is_said(cnn: Path, tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(np.full((20, 30, 3), 100 * number, np.uint8)).save(tmp_path / f"{number}.png")
    found = verified(cnn, Wish(images=tmp_path, count=2))
    assert found.runs == 2 and "2 pictures" in found.source and not found.unexplained
    said = verified(cnn, Wish(images=tmp_path, pixels=Pixels((0.5,) * 3, (0.5,) * 3)))
    assert said.runs == 3


def test_free_sizes_are_asked_for(tmp_path: Path, cnn: Path) -> None:
    model = onnx.load(cnn)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "h"
    path = tmp_path / "free.onnx"
    onnx.save(model, path)
    with pytest.raises(UserError, match=r"input 'x' is \[1,3,\?,16\].*--shape x=1,3,224,224"):
        verified(path)
    assert verified(path, Wish(count=1, shapes={"": SIZE})).runs == 1
    with pytest.raises(UserError, match="3,072,000,000 numbers"):
        verified(path, Wish(shapes={"": (1, 3, 64_000_000, 16)}))
    with pytest.raises(UserError, match="no input 'y'; it has x"):
        verified(path, Wish(shapes={"y": SIZE}))


def test_weights_in_a_file_beside_are_read_and_others_are_not(cnn: Path, tmp_path: Path) -> None:
    path = tmp_path / "outside.onnx"
    onnx.save(onnx.load(cnn), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert not verified(path, Wish(count=1)).unexplained
    (tmp_path / "in").mkdir()
    onnx.save(
        onnx.load(cnn), tmp_path / "in" / "x.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    model = onnx.load(tmp_path / "in" / "x.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../weights.bin" if entry.key == "location" else entry.value
    onnx.save(model, tmp_path / "in" / "x.onnx")
    with pytest.raises(UserError, match="not the name of a file in the folder"):
        verified(tmp_path / "in" / "x.onnx")


def test_files_without_codes_are_refused_with_what_to_do(tmp_path: Path) -> None:
    net = residual()
    with pytest.raises(UserError, match="has no QuantizeLinear: it is a float file"):
        read_qdq(net.save(tmp_path / "float.onnx"))
    with pytest.raises(UserError, match=r"QOperator file .*QDQ form"):
        read_qdq(quantized(residual(), tmp_path, quant_format=QuantFormat.QOperator))
    quantize_dynamic(str(tmp_path / "float.onnx"), str(tmp_path / "dynamic.onnx"))
    with pytest.raises(UserError, match="anew for every image"):
        read_qdq(tmp_path / "dynamic.onnx")
    (tmp_path / "no.onnx").write_bytes(b"\x08\x07not one")
    with pytest.raises(UserError, match="no ONNX file"):
        read_qdq(tmp_path / "no.onnx")


def test_weights_alone_and_quantizers_of_nobodys_standard_are_refused(tmp_path: Path) -> None:
    def save(*nodes: onnx.NodeProto) -> Path:
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
        stored = [
            numpy_helper.from_array(np.ones(4, np.int8), "w"),
            numpy_helper.from_array(np.asarray(0.5, np.float32), "s"),
        ]
        graph = helper.make_graph(nodes, "one", values[:1], values[1:], stored)
        versions = [helper.make_opsetid("", 17), helper.make_opsetid("onnx.brevitas", 1)]
        onnx.save(helper.make_model(graph, opset_imports=versions, ir_version=8), tmp_path / "m.onnx")
        return tmp_path / "m.onnx"

    weight = helper.make_node("DequantizeLinear", ["w", "s"], ["d"])
    with pytest.raises(UserError, match="quantizes weights alone"):
        read_qdq(save(weight, helper.make_node("Mul", ["x", "d"], ["y"])))
    with pytest.raises(UserError, match=r"Quant of the domain 'onnx\.brevitas'"):
        read_qdq(save(helper.make_node("Quant", ["x", "s"], ["y"], domain="onnx.brevitas")))


def test_openvino_leaves_out_a_rounding_that_nobody_reads(cnn: Path) -> None:
    pytest.importorskip("openvino")
    item = only(verified(cnn, runtimes=(Manner("openvino"),)))
    assert item.unseen_runs and "without rounding" in (item.unseen or "") and not item.unexplained


def test_a_runtime_that_is_not_there_is_said_and_counts_for_nothing(cnn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        import openvino  # noqa: F401
    except ImportError:
        found = verified(cnn, Wish(count=1), (Manner("openvino"),))
        assert found.runtimes[0].missing and not found.unexplained
    else:
        pytest.skip("OpenVINO is here")


def test_a_file_of_ours_is_computed_as_it_says(pristine_build: Path) -> None:
    found = verified(pristine_build / "model.onnx", Wish(count=2))
    item = only(found)
    assert found.quantizers > 15 and item.codes > 100_000 and not found.unexplained
    assert item.layers is not None and all(layer.integer for layer in item.layers)


def test_exact_sums_are_named_and_leave_no_saturation(cnn: Path) -> None:
    item = only(verified(cnn))
    assert item.title.endswith("exact sums")
    assert not any("saturate" in (part.explanation or "") for part in item.quantizers)


def test_saturating_sums_come_with_the_option_that_shows_the_rest(cnn: Path) -> None:
    found = verified(cnn, runtimes=(Manner("onnxruntime"),))
    saturating = any("saturate" in (part.explanation or "") for part in only(found).quantizers)
    assert saturating == sums_saturate() == any("--exact-sums" in note for note in found.notes)
