"""Two builds that differ in names only are equal; one flipped code, or one number elsewhere, is found."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file, save_file

from tools.compare_builds import Comparison, canonical_name, compare_folders, compare_graphs, compare_runs, map_names
from tools.same_build import CASES, table
from tools.tree_state import tree_state

WEIGHT = np.arange(-6, 6, dtype=np.int8).reshape(3, 4)


def network(separator: str, word: str, reverse: bool = False) -> onnx.ModelProto:
    """x [N, 4] -> codes -> a product with int8 weights -> codes -> logits [N, 3]; names as either revision writes."""
    layer, narrow = f"block{separator}fc", f"block{separator}fc_{word}"
    constants = {
        f"{layer}{separator}codes": WEIGHT.T.copy(), "w_scale": np.float32(0.1), "scale": np.float32(0.05),
        "zero": np.int8(0), "w_zero": np.int8(0),
    }  # fmt: skip
    nodes = [
        helper.make_node("DequantizeLinear", [f"{layer}{separator}codes", "w_scale", "w_zero"], ["w"], name="weight"),
        helper.make_node("QuantizeLinear", ["input", "scale", "zero"], ["input/codes"]),
        helper.make_node("DequantizeLinear", ["input/codes", "scale", "zero"], ["x"]),
        helper.make_node("MatMul", ["x", "w"], ["y"], name=layer),
        helper.make_node("QuantizeLinear", ["y", "scale", "zero"], [f"{narrow}/codes"]),
        helper.make_node("DequantizeLinear", [f"{narrow}/codes", "scale", "zero"], ["logits"]),
    ]
    if reverse:
        nodes = [*nodes[1:3], nodes[0], *nodes[3:]]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def folder(path: Path, separator: str, word: str, reverse: bool = False) -> Path:
    """What a comparison reads of a build folder."""
    (path / "calibration" / "images").mkdir(parents=True)
    (path / "calibration" / "images" / "000000.png").write_bytes(b"an image")
    (path / "calibration" / "metadata.jsonl").write_text('{"seed": 1}\n')
    layer = f"layers.block{separator}fc"
    save_file({f"{layer}.weight": WEIGHT * np.float32(0.1)}, path / "reference.safetensors")
    scale = {f"quantizers.block{separator}fc_{word}.scale": np.array(0.05, np.float32)}
    save_file({f"{layer}.weight_codes": WEIGHT, **scale}, path / "model.safetensors")
    onnx.save(network(separator, word, reverse), path / "model.onnx")
    return path


@pytest.fixture
def builds(tmp_path: Path) -> tuple[Path, Path]:
    return folder(tmp_path / "old", ".", "narrowed"), folder(tmp_path / "new", "/", "requantized", reverse=True)


def everything(old: Path, new: Path) -> list[Comparison]:
    images = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    return [*compare_folders(old, new), *compare_runs(old / "model.onnx", new / "model.onnx", images, False)]


def unlike(old: Path, new: Path) -> list[str]:
    return [line.what for line in everything(old, new) if not line.same]


def test_names_and_order_may_differ(builds: tuple[Path, Path]) -> None:
    lines = everything(*builds)
    assert [line for line in lines if not line.same] == []
    assert "1 renamed" in next(line.note for line in lines if line.what == "reference.safetensors")
    assert next(line.total for line in lines if line.what == "onnxruntime") == 5 * (4 + 3 + 3)


def flip_a_code(build: Path) -> None:
    tensors = load_file(build / "model.safetensors")
    tensors["layers.block/fc.weight_codes"][1, 2] ^= 1
    save_file(tensors, build / "model.safetensors")


def flip_a_code_of_the_file(build: Path) -> None:
    model = onnx.load(build / "model.onnx")
    codes = numpy_helper.to_array(model.graph.initializer[0]).copy()
    codes[0, 0] ^= 64
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(codes, model.graph.initializer[0].name))
    onnx.save(model, build / "model.onnx")


def change_an_image(build: Path) -> None:
    (build / "calibration" / "images" / "000000.png").write_bytes(b"another")


def change_a_type(build: Path) -> None:
    tensors = load_file(build / "reference.safetensors")
    save_file({name: value.astype(np.float64) for name, value in tensors.items()}, build / "reference.safetensors")


def add_a_tensor(build: Path) -> None:
    tensors = load_file(build / "reference.safetensors")
    save_file({**tensors, "norm.weight": np.ones(3, np.float32)}, build / "reference.safetensors")


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        (flip_a_code, ["model.safetensors"]),
        (
            flip_a_code_of_the_file,
            ["graph: nodes", "graph: constants", "graph: interface", "graph: code tensors", "onnxruntime",
             "onnxruntime, unfused"],
        ),
        (change_an_image, ["calibration images"]),
        (change_a_type, ["reference.safetensors"]),
        (add_a_tensor, ["reference.safetensors"]),
    ],
)  # fmt: skip
def test_what_was_tampered_with_is_found(
    builds: tuple[Path, Path], tamper: Callable[[Path], None], found: list[str]
) -> None:
    tamper(builds[1])
    assert unlike(*builds) == found


def test_the_first_difference_is_named(builds: tuple[Path, Path]) -> None:
    flip_a_code(builds[1])
    (line,) = (line for line in everything(*builds) if not line.same)
    assert (line.equal, line.total) == (12, 13)
    assert "first unlike: layers.block.fc.weight_codes (1 numbers)" in str(line)


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ("layers.blocks.0.attn.proj.codes", "layer_blocks__0__attn__proj.codes"),
        ("quantizers.act1_narrowed.scale", "quantizer_act1_requantized.scale"),
        ("kept.head.weight", "kept_head.weight"),
        ("norm.weight", "constant_norm__weight"),
        ("layer_norm_1_evened_2", "constant_layer_norm_1_equalized_2"),
        ("act1_narrowed/codes", "act1_requantized/codes"),
    ],
)
def test_a_name_keeps_its_words(then: str, now: str) -> None:
    assert canonical_name(then) == canonical_name(now)
    assert map_names([then, "other"], ["other", now]) == {then: now, "other": "other"}


def test_names_with_the_same_words_have_no_partner() -> None:
    assert map_names(["a.b", "c"], ["a/b", "c"]) == {"a.b": "a/b", "c": "c"}
    assert map_names(["a.b", "c"], ["a/b", "a_b", "c"]) == {"c": "c"}


def test_codes_at_another_place_of_the_graph_are_found(builds: tuple[Path, Path]) -> None:
    """Two code tensors that exchange names: the graph without names is the same, its codes are not."""
    swapped = onnx.load(builds[0] / "model.onnx")
    names = {"input/codes": "block.fc_narrowed/codes", "block.fc_narrowed/codes": "input/codes"}
    for node in swapped.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    lines = compare_graphs(onnx.load(builds[0] / "model.onnx"), swapped)
    assert [line.what for line in lines if not line.same] == ["graph: code tensors"]


def test_nothing_compared_is_not_equal() -> None:
    assert not Comparison("x", 0, 0, "files").same


def test_the_table_names_what_is_unlike() -> None:
    lines = [Comparison("a", 1, 1, "files"), Comparison("b", 1, 2, "files")]
    text = table({"average5": lines, "qat": None})
    assert "1 of 2 equal; unlike: b" in text and "could not be built" in text
    assert len(CASES) == 14


def test_a_tree_is_known_by_its_contents(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "a.py").write_text("1")
    first = tree_state(tmp_path)
    (tmp_path / ".gitignore").write_text("*.log\n")
    second = tree_state(tmp_path)
    (tmp_path / "x.log").write_text("{}")
    assert first != second == tree_state(tmp_path)
    assert tree_state(tmp_path, ("a.py",)) == tree_state(tmp_path, ("a.py",)) != second
