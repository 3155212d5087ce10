"""Every number of file and integer model is the reference's: one thing is changed that no code need show."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file

from genq_export.config.build import BuildConfig
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.network.files import load_integer_model
from genq_export.network.onnx_graph import read_model
from runtime_tests.verify.constants import Constants, mismatches
from runtime_tests.verify.lineage import unlike_classes, unlike_export, unlike_reference
from tests.runtime_tests.conftest import Edit

Change = Callable[[dict[str, object]], None]


def node(model: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    return next(item for item in model.graph.node if item.op_type == kind)


def pads(model: onnx.ModelProto, _: Constants) -> None:
    convolution = next(item for item in model.graph.node if item.name == "layer1.0.conv1")
    next(item for item in convolution.attribute if item.name == "pads").ints[:] = [2, 0, 2, 0]


def bias_dropped(model: onnx.ModelProto, _: Constants) -> None:
    del next(item for item in model.graph.node if item.name == "layer1.0.conv1").input[2]


def float_bias(model: onnx.ModelProto, constants: Constants) -> None:
    """Of the last layer: its bias is no code, and a part in a million moves no answer."""
    tensor = constants.source(node(model, "Sub").input[1])
    assert tensor is not None
    value = constants.value(tensor)
    assert value is not None
    constants.replace(tensor, value * np.float32(1 + 1e-6))


def limits_dropped(model: onnx.ModelProto, _: Constants) -> None:
    """A Clip that limits the codes of an 8-bit grid's container to those of a narrow grid."""
    clip = node(model, "Clip")
    source, name = clip.input[0], clip.output[0]
    model.graph.node.remove(clip)
    next(item for item in model.graph.node if item.output[0] == source).output[0] = name


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (pads, "pads of layer1.0.conv1 is [2, 0, 2, 0] in the file and [1, 1, 1, 1] in the integer model"),
        (bias_dropped, "the file has no bias of layer1.0.conv1"),
        (float_bias, "the bias of"),
        (limits_dropped, "the file does not limit the codes of"),
    ],
)
def test_what_the_file_holds_otherwise_is_named(plant: Callable[[Edit], Workspace], edit: Edit, message: str) -> None:
    build = plant(edit)
    (found,) = mismatches(read_model(build.path("model.onnx")), load_integer_model(build.folder))
    assert found.message.startswith(message)


@pytest.mark.parametrize("fitting", [True, False])
def test_a_bound_that_no_clip_carries_is_compared(build: Workspace, fitting: bool) -> None:
    """The 8-bit grids fill their container: one that is narrower in the integer model alone is seen."""
    structure = json.loads(build.path("model.json").read_text())
    wide = next(part for part in structure["modules"].values() if part.get("hi") == 255)
    wide["hi"] -= not fitting
    build.write_json("model.json", structure)
    found = mismatches(read_model(build.path("model.onnx")), load_integer_model(build.folder))
    assert [item.message for item in found] == (
        []
        if fitting
        else [f"the file does not limit the codes of {wide['name']} to 0 to 254, as the integer model does"]
    )


def pooling(model: onnx.ModelProto) -> None:
    mean = next(item for item in model.graph.node if item.op_type in ("ReduceMean", "GlobalAveragePool"))
    mean.op_type = "ReduceSum" if mean.op_type == "ReduceMean" else "GlobalMaxPool"


def reshaped(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = model.graph.node[0].output[0]


def another_constant(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    value = onnx.numpy_helper.to_array(tensor).copy()
    value.flat[0] += 1
    tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))


def remark(model: onnx.ModelProto) -> None:
    model.doc_string = "a remark"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (pooling, "in the file and a"),
        (reshaped, "the outputs of the file are"),
        (another_constant, "the constant"),
        (remark, None),
    ],
)
def test_the_file_is_held_against_the_integer_model_written_anew(
    build: Workspace, config: BuildConfig, change: Callable[[onnx.ModelProto], None], words: str | None
) -> None:
    assert unlike_export(build, config, (3, 32, 32)) == ((), None)
    model = onnx.load(build.path("model.onnx"))
    change(model)
    build.path("model.onnx").write_bytes(model.SerializeToString())
    found, reason = unlike_export(build, config, (3, 32, 32))
    assert reason is None and len(found) == (words is not None) and (words is None or words in found[0])


def test_a_file_of_other_versions_is_not_held_against_what_these_write(build: Workspace, config: BuildConfig) -> None:
    manifest = json.loads(build.path("manifest.json").read_text())
    manifest["stages"]["export"]["versions"]["torch"] = "1.0"
    build.write_json("manifest.json", manifest)
    found, reason = unlike_export(build, config, (3, 32, 32))
    assert found == () and reason is not None and "made with torch 1.0" in reason


def structures(document: dict[str, dict[str, dict[str, object]]]) -> Iterator[tuple[dict[str, object], str, object]]:
    """One field of every kind of part, with another value that a file may hold."""
    parts = list(document["modules"].values())
    quantizer = next(part for part in parts if part["kind"] == "quantizer")
    layer = next(part for part in parts if part["kind"] != "quantizer" and "weight_shape" in part)
    yield quantizer, "hi", int(str(quantizer["hi"])) - 1
    yield layer, "bits", 8


def test_the_structure_of_the_integer_model_is_what_the_reference_folds_to(build: Workspace, tmp_path: Path) -> None:
    assert unlike_reference(build.folder) == ()
    document = json.loads(build.path("model.json").read_text())
    for number, (part, field, value) in enumerate(structures(document)):
        before, part[field] = part[field], value
        folder = Path(shutil.copytree(build.folder, tmp_path / str(number)))
        (folder / "model.json").write_text(json.dumps(document))
        (found,) = unlike_reference(folder)
        assert f"{field} is {value}, the reference folds to {before}" in found
        part[field] = before


@pytest.mark.parametrize("kind", ["weight_codes", "weight_scale", "bias", "scale"])
def test_the_tensors_of_the_integer_model_are_what_the_reference_folds_to(build: Workspace, kind: str) -> None:
    path = build.path("model.safetensors")
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith(f".{kind}"))
    changed = tensors[name].copy()
    changed.flat[0] = changed.flat[0] - 1 if changed.dtype.kind == "i" else np.nextafter(changed.flat[0], np.float32(9))
    save_file(tensors | {name: changed}, path)
    assert unlike_reference(build.folder) == (f"model.safetensors: {name} is not what the reference folds to",)


def test_classes_in_another_order_are_others(build: Workspace, model: LoadedModel) -> None:
    assert model.class_names is not None
    assert unlike_classes(build, model.class_names) == ()
    swapped = replace(model, class_names=(model.class_names[1], model.class_names[0], *model.class_names[2:]))
    assert len(unlike_classes(build, swapped.class_names)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fashion_resnet", "fashion_vit", "fashion_mobilenet"])
@pytest.mark.parametrize("made_for", ["onnxruntime", "tensorrt"])
@pytest.mark.parametrize("bits", [8, 4])
def test_what_is_exported_holds_every_constant(tmp_path: Path, name: str, made_for: str, bits: int) -> None:
    """Clips that took in a ReLU, biases behind a MatMul, shifted grids: none of them is a difference."""
    from benchmarks.faults import Case
    from benchmarks.faults import build as quantized
    from export.fold import fold
    from genq_export.network.files import load_reference, save_integer_model
    from genq_export.targets import target

    model, workspace, config, _ = quantized(Case(name, bits, made_for), tmp_path)
    save_integer_model(fold(load_reference(workspace.folder)), workspace.folder)
    path = workspace.path("model.onnx")
    target(made_for).emit(load_integer_model(workspace.folder), model.input_size, config.export, path)
    assert mismatches(read_model(path), load_integer_model(workspace.folder)) == []
    assert unlike_export(workspace, config, model.input_size) == ((), None)
    assert unlike_reference(workspace.folder) == ()
