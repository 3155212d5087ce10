"""Stored networks that somebody changed: refused with one line, and nothing in them runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, load_file, save_file
from torch import Tensor

from genq_export.core.errors import UserError
from genq_export.network.files import (
    INTEGER_FILES,
    REFERENCE_FILES,
    load_integer_model,
    load_reference,
)
from genq_export.network.names import part_name

aten = torch.ops.aten
TENSORS, STRUCTURE = REFERENCE_FILES
GEOMETRY: dict[str, Any] = {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1}


# What a hostile or damaged file may say. `RUN` would leave a file behind if any of it were executed.
RUN = "__import__('pathlib').Path('ran').touch()"
Edit = Callable[[dict[str, Any]], Any]


def nodes(document: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [node for node in document["nodes"] if node["op"] == kind]


def put(kind: str, key: str, value: object) -> Edit:
    """Set a field of the first node of a kind."""
    return lambda document: nodes(document, kind)[0].update({key: value})


def call(target: str, args: list[Any], kwargs: dict[str, Any] | None = None) -> Edit:
    """Let a node in front of the output call another operator."""
    record = {"name": "added", "op": "call_function", "target": target, "args": args, "kwargs": kwargs or {}}
    return lambda document: document["nodes"].insert(-1, record)


def spec(part: str, **changes: object) -> Edit:
    """Change the description of a part."""
    return lambda document: document["modules"][part].update(changes)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


X = {"node": "x"}
ACT, INPUT = part_name("quantizer", "act"), part_name("quantizer", "input")
STEM, KEPT = part_name("layer", "stem.conv"), part_name("kept", "last")
STRUCTURES: dict[str, Edit] = {
    "code as a name of a constant": put("get_attr", "target", f'x", None) or {RUN} or getattr(self, "training'),
    "code as a name of an input": put("placeholder", "target", f"x={RUN}"),
    "code as a name of a node": put("placeholder", "name", f"x={RUN}"),
    "code as a keyword": put("call_function", "kwargs", {f"x={RUN}": 1}),
    "code as a module": put("call_module", "target", f"x); {RUN}; (x"),
    "code as an operator": put("call_function", "target", RUN),
    "code as an output": put("output", "target", RUN),
    "code as a name of an output": put("output", "args", [{"outputs": {f"x={RUN}": X}}]),
    "an output called as the input": put("output", "args", [{"outputs": {"input": X}}]),
    "outputs that are no nodes": put("output", "args", [{"outputs": {"a": 1}}]),
    "outputs without names": put("output", "args", [{"outputs": [X]}]),
    "no outputs": put("output", "args", [{"outputs": {}}]),
    "one output twice": put("output", "args", [{"outputs": {"a": X, "b": X}}]),
    "outputs and more": put("output", "args", [{"outputs": {"a": X}, "node": "x"}]),
    "too many outputs": put("output", "args", [{"outputs": {f"o{number}": X for number in range(65)}}]),
    "code as a path": spec(ACT, name=RUN),
    "code as a part": lambda document: document["modules"].update({RUN: document["modules"].pop(ACT)}),
    "globals": put("get_attr", "target", "forward.__globals__"),
    "the class": put("get_attr", "target", "__class__"),
    "a method": put("call_module", "target", "forward"),
    "a method of a part": put("call_module", "target", f"{ACT}.forward"),
    "a part of nothing": put("call_module", "target", "no.such.module"),
    "a tensor of nothing": put("get_attr", "target", "layer_nothing.scale"),
    "python's eval": put("call_function", "target", "python.eval"),
    "an attribute of an operator": put("call_function", "target", "relu.__class__"),
    "an attribute of all operators": put("call_function", "target", "__class__.__name__"),
    "no operator": put("call_function", "target", "no_such_operator.default"),
    "a method call": put("call_function", "op", "call_method"),
    "random numbers": call("random_.default", [X]),
    "random numbers by chance": call("bernoulli.p", [X, 0.5]),
    "another storage": call("set_.source_Tensor", [X, X]),
    "a file": call("from_file.default", ["/etc/passwd", False, 10]),
    "a memory that is not ours": call("empty.memory_format", [[10**12]]),
    "writing into a tensor": call("relu_.default", [X]),
    "writing into another": call("add.out", [X, X], {"out": X}),
    "a number from a tensor": call("item.default", [X]),
    "an operator of ours": call("genq::conv2d.default", [X]),
    "dropout in attention": call("scaled_dot_product_attention.default", [X, X, X, None, 0.5]),
    "a text for a tensor": call("relu.default", ["x"]),
    "a text for a number": call("leaky_relu.default", [X, "1"]),
    "a number for a flag": call("sum.dim_IntList", [X, [1], 1]),
    "a flag for a number": call("softmax.int", [X, True]),
    "a list for a tensor": call("relu.default", [[X]]),
    "too many arguments": call("relu.default", [X, X]),
    "too few arguments": call("relu.default", []),
    "an argument twice": call("softmax.int", [X, 1], {"dim": 1}),
    "an unknown argument": call("relu.default", [X], {"inplace": True}),
    "an unknown type": call("softmax.int", [X, 1, {"dtype": "complex64"}]),
    "a device": call("to.dtype", [X, {"device": "cuda"}]),
    "two things in one": call("relu.default", [{"node": "x", "dtype": "float32"}]),
    "nothing in it": call("relu.default", [{}]),
    "a node that is no name": call("relu.default", [{"node": ["x"]}]),
    "a node that is not there": call("relu.default", [{"node": "nowhere"}]),
    "itself": call("relu.default", [{"node": "added"}]),
    "an integer beyond all": call("reshape.default", [X, [10**30]]),
    "lists in lists": call("index.Tensor", [X, nested(50)]),
    "a tuple times a million": call("python.mul", [[X, X], 10**6]),
    "a name twice": lambda document: document["nodes"].insert(1, dict(document["nodes"][0])),
    "a very long name": put("placeholder", "name", "x" * 1000),
    "two inputs": lambda document: document["nodes"].insert(0, {**document["nodes"][0], "name": "y"}),
    "no output": lambda document: document["nodes"].pop(),
    "nothing": lambda document: document.update(nodes=[]),
    "no nodes": lambda document: document.pop("nodes"),
    "nodes that are none": lambda document: document.update(nodes=[1, 2]),
    "a node without arguments": lambda document: document["nodes"][1].pop("args"),
    "a node with more": lambda document: document["nodes"][1].update(code=RUN),
    "an output of two": put("output", "args", [[X, X]]),
    "a scale that is none": lambda document: nodes(document, "call_module")[1]["args"].__setitem__(1, X),
    "a quantizer of two tensors": lambda document: nodes(document, "call_module")[0]["args"].append(X),
    "more than a document": lambda document: document.update(code=RUN),
    "another version": lambda document: document.update(version=99),
    "an older version": lambda document: document.update(version=2),
    "no version": lambda document: document.pop("version"),
    "a part too few": lambda document: document["modules"].popitem(),
    "a part too many": lambda document: document["modules"].update(layer_more=document["modules"][STEM]),
    "a part that is none": lambda document: document["modules"].update({ACT: 3}),
    "a kind unheard of": spec(ACT, kind="nothing"),
    "no kind": lambda document: document["modules"][ACT].pop("kind"),
    "no bits": spec(ACT, bits=0),
    "sixteen bits": spec(STEM, bits=16),
    "bits as text": spec(ACT, bits="8"),
    "bits as a fraction": spec(ACT, bits=8.0),
    "bits as a flag": spec(ACT, bits=True),
    "a code beyond the grid": spec(ACT, hi=256),
    "signed and with a zero-point": spec(INPUT, asymmetric=True),
    "an operation unheard of": spec(STEM, op="conv3d"),
    "a linear layer with a geometry": spec(STEM, op="linear"),
    "a convolution without": spec(STEM, geometry=None),
    "a stride of nothing": spec(STEM, geometry=GEOMETRY | {"stride": [0, 1]}),
    "padding beyond all": spec(STEM, geometry=GEOMETRY | {"padding": [2**40, 1]}),
    "a stride too many": spec(STEM, geometry=GEOMETRY | {"stride": [1] * 3}),
    "a weight as large as the sea": spec(STEM, weight_shape=[2**30, 2**30, 3, 3]),
    "a weight of no size": spec(STEM, weight_shape=[4, 4, 3, 0]),
    "a weight of another size": spec(KEPT, shape=[4, 4, 1]),
    "a path that is none": spec(ACT, name="a b"),
    "a path twice": spec(ACT, name="input"),
    "a path of a mile": spec(ACT, name="a" * 501),
    "a part with more": spec(ACT, code=RUN),
}  # fmt: skip


@pytest.mark.parametrize("kind", STRUCTURES)
def test_a_structure_that_makes_no_sense_is_refused_and_nothing_in_it_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(folder)
    document = json.loads((folder / STRUCTURE).read_text())
    STRUCTURES[kind](document)
    (folder / STRUCTURE).write_text(json.dumps(document))
    with pytest.raises(UserError) as caught:
        load_reference(folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000
    assert not (folder / "ran").exists()


# What only a run can show: an error of ours that names the file, whatever torch says. Nodes are named by operator here.
SIZE, HALVES, SHAPED = {"node": "sym_size.int"}, {"node": "chunk.default"}, {"node": "reshape.default"}
RUNS: dict[str, tuple[str, list[Any]]] = {
    "shapes that do not fit": ("matmul.default", [X, SHAPED]),
    "a dimension that is not there": ("softmax.int", [X, 9]),
    "a text that an operator does not know": ("pad.default", [X, [1, 1], "perhaps"]),
    "a tensor for a size": ("reshape.default", [X, [X]]),
    "a size for a tensor": ("relu.default", [SIZE]),
    "a part of a tensor": ("python.getitem", [X, 0]),
    "a part that is not there": ("python.getitem", [HALVES, 9]),
    "a tuple times a million": ("python.mul", [HALVES, 10**9]),
    "a division by nothing": ("python.floordiv", [SIZE, 0]),
}


def named(value: Any, names: dict[str, str]) -> Any:
    """Nodes by their names where they are given by their operators."""
    if isinstance(value, dict):
        return {"node": names[value["node"]]}
    return [named(part, names) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize("kind", RUNS)
def test_a_structure_that_cannot_run_says_so_in_one_line(folder: Path, images: Tensor, kind: str) -> None:
    document = json.loads((folder / STRUCTURE).read_text())
    target, args = RUNS[kind]
    call(target, named(args, {node["target"]: node["name"] for node in document["nodes"]}))(document)
    document["nodes"][-1]["args"] = [{"node": "added"}]
    (folder / STRUCTURE).write_text(json.dumps(document))
    network = load_reference(folder)
    with pytest.raises(UserError, match=r"reference\.json: node 'added' cannot run") as caught, torch.no_grad():
        network(images)
    assert "\n" not in str(caught.value)


NO_STRUCTURES = [b"", b"{", b"[1, 2]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"version": 3}', b"1"]


@pytest.mark.parametrize("content", NO_STRUCTURES)
def test_a_structure_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    (folder / STRUCTURE).write_bytes(content)
    with pytest.raises(UserError):
        load_reference(folder)


def test_an_older_file_is_refused_with_what_to_do(folder: Path) -> None:
    document = json.loads((folder / STRUCTURE).read_text())
    (folder / STRUCTURE).write_text(json.dumps(document | {"version": 2}))
    with pytest.raises(UserError, match=r"has version 2, this genq-export reads 3: quantize again$"):
        load_reference(folder)


Tensors = dict[str, Tensor]
SCALE, CODES = f"{ACT}.scale", f"{STEM}.codes"
STATES: dict[str, Callable[[Tensors], Tensors]] = {
    "a tensor too few": lambda state: {name: value for name, value in state.items() if name != CODES},
    "a tensor too many": lambda state: {**state, "constant_more": torch.zeros(3)},
    "a tensor of no part": lambda state: {**state, "a.b.c": torch.zeros(3)},
    "a tensor too many of a part": lambda state: {**state, f"{ACT}.more": torch.zeros(3)},
    "code as a name": lambda state: {**state, RUN: torch.zeros(3)},
    "another shape": lambda state: {**state, CODES: state[CODES][:1].clone()},
    "another number of dimensions": lambda state: {**state, SCALE: torch.ones(1)},
    "codes as floating point numbers": lambda state: {**state, CODES: state[CODES].float()},
    "codes beyond their bits": lambda state: {**state, CODES: torch.full_like(state[CODES], 9)},
    "a scale of nothing": lambda state: {**state, SCALE: torch.zeros(())},
    "a scale below nothing": lambda state: {**state, SCALE: -torch.ones(())},
    "a scale that is no number": lambda state: {**state, SCALE: torch.tensor(float("nan"))},
    "a scale without end": lambda state: {**state, f"{STEM}.weight_scale": torch.full((4,), float("inf"))},
    "a zero-point beyond the grid": lambda state: {**state, f"{ACT}.zero_point": torch.tensor(300, dtype=torch.int32)},
    "a weight that is no number": lambda state: {**state, f"{KEPT}.weight": torch.full((4, 4, 1, 1), float("nan"))},
}


@pytest.mark.parametrize("kind", STATES)
def test_tensors_that_make_no_sense_are_refused(folder: Path, kind: str) -> None:
    save_file(STATES[kind](load_file(folder / TENSORS)), folder / TENSORS)
    with pytest.raises(UserError, match="do not fit together") as caught:
        load_reference(folder)
    assert "\n" not in str(caught.value)


def test_truncated_and_missing_tensors_are_refused(folder: Path) -> None:
    path = folder / TENSORS
    whole = path.read_bytes()
    assert load(whole)
    for size in (0, 7, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match="cannot read"):
            load_reference(folder)
    path.unlink()
    with pytest.raises(UserError, match="cannot read"):
        load_reference(folder)


def test_a_reference_is_no_integer_model(folder: Path) -> None:
    for there, here in zip(REFERENCE_FILES, INTEGER_FILES, strict=True):
        (folder / there).rename(folder / here)
    with pytest.raises(UserError, match="do not fit together"):
        load_integer_model(folder)
