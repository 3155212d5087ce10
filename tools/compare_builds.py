"""Are two build folders the same model: every number compared bit by bit, up to names and the order of nodes.

Names are mapped by a rule (`canonical_name`), and the map must be one to one. In the ONNX graph a tensor is known by
what computes it, back to the graph's inputs and the bytes of its constants, so that names and order play no part.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from safetensors.numpy import load_file

Tensors = Mapping[str, NDArray[Any]]

RENAMED_WORDS = {  # then -> now, on both sides; a word without one is left out
    "narrowed": "requantized",
    "evened": "equalized",
    "layers": "layer",
    "quantizers": "quantizer",
    "products": "product",
    "constant": "",
}
CODES = "/codes"


@dataclass(frozen=True)
class Comparison:
    """One line of the result: `equal` of `total` things are equal. note: names, and the first thing that is unlike."""

    what: str
    equal: int
    total: int
    unit: str
    note: str = ""

    @property
    def same(self) -> bool:
        """Was there something to compare, and is all of it equal?"""
        return self.equal == self.total > 0

    def __str__(self) -> str:
        count = f"{self.equal:,} of {self.total:,} {self.unit}"
        return f"{'ok    ' if self.same else 'UNLIKE'} {self.what:<22} {count}{', ' if self.note else ''}{self.note}"


def compare_folders(old: Path, new: Path) -> list[Comparison]:
    """Compare what two finished builds hold: calibration images, tensors, graph."""
    return [
        compare_files("calibration images", _calibration_files(old), _calibration_files(new)),
        *(compare_tensors(name, load_file(old / name), load_file(new / name))
          for name in ("reference.safetensors", "model.safetensors")),
        *compare_graphs(onnx.load(old / "model.onnx"), onnx.load(new / "model.onnx")),
    ]  # fmt: skip


def compare_runs(old: Path, new: Path, images: NDArray[np.float32], as_written: bool) -> list[Comparison]:
    """Compare every code and logit of two ONNX files, computed by ONNX Runtime with and without its optimisations.

    Args:
        old: an ONNX file.
        new: the other.
        images: preprocessed, float32 [N, C, H, W].
        as_written: leave Q/DQ pairs as they are; what files for TensorRT need.
    """
    return [
        compare_tensors(title, *(run_file(path, images, fused, as_written) for path in (old, new)))
        for title, fused in (("onnxruntime", True), ("onnxruntime, unfused", False))
    ]


def canonical_name(name: str) -> str:
    """Return the words of a name in today's words: `.`, `/` and `_` all separate."""
    words = (RENAMED_WORDS.get(word, word) for word in re.split(r"[^0-9A-Za-z]+", name))
    return " ".join(filter(None, words))


def map_names(old: Iterable[str], new: Iterable[str]) -> dict[str, str]:
    """Return the old name of each pair with its new one; a name with no partner, or with several, is in no pair."""
    by_words = [defaultdict(list), defaultdict(list)]  # type: list[defaultdict[str, list[str]]]
    for names, found in zip((old, new), by_words, strict=True):
        for name in names:
            found[canonical_name(name)].append(name)
    before, after = by_words
    return {names[0]: after[words][0] for words, names in before.items() if len(names) == len(after[words]) == 1}


def compare_files(what: str, old: Mapping[str, bytes], new: Mapping[str, bytes]) -> Comparison:
    """Compare files by name and content."""
    names = sorted({*old, *new})
    unlike = [name for name in names if old.get(name) != new.get(name)]
    return Comparison(what, len(names) - len(unlike), len(names), "files", _first(unlike))


def compare_tensors(what: str, old: Tensors, new: Tensors) -> Comparison:
    """Compare tensors of the same name (`map_names`): type, shape and every bit."""
    pairs = map_names(old, new)
    equal = {name: _equal_numbers(old[name], new[partner]) for name, partner in pairs.items()}
    alone = [*(name for name in old if name not in pairs), *(set(new) - set(pairs.values()))]
    total = sum(old[name].size for name in old) + sum(new[name].size for name in set(new) - set(pairs.values()))
    unlike = [f"{name} ({old[name].size - count} numbers)" for name, count in equal.items() if count < old[name].size]
    unlike += [f"{name} (has no partner)" for name in sorted(alone)]
    renamed = sum(name != partner for name, partner in pairs.items())
    notes = (f"{len(pairs)} tensors", f"{renamed} renamed" if renamed else "", _first(unlike))
    return Comparison(what, sum(equal.values()), total, "numbers", ", ".join(filter(None, notes)))


def compare_graphs(old: onnx.ModelProto, new: onnx.ModelProto) -> list[Comparison]:
    """Compare nodes, constants, the interface, and where in the graph each code tensor is."""
    before, after = CanonicalGraph(old), CanonicalGraph(new)
    pairs = map_names(before.codes, after.codes)
    moved = [name for name in before.codes if before.codes[name] != after.codes.get(pairs.get(name, ""))]
    total = len(before.codes) + len(after.codes) - len(pairs)
    return [
        _compare_counts("graph: nodes", before.nodes, after.nodes, before.titles),
        _compare_counts("graph: constants", before.constants, after.constants, before.titles),
        _compare_counts("graph: interface", before.interface, after.interface, {}),
        Comparison("graph: code tensors", len(before.codes) - len(moved), total, "places", _first(moved)),
    ]


class CanonicalGraph:
    """A graph without names and order: each tensor is the hash of what computes it.

    nodes, constants: how often each hash occurs. interface: inputs, outputs, operator sets, format. codes: the hash of
    each code tensor by name. titles: a name for each hash, for people.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.titles: dict[str, str] = {}
        self._tensors = {"": "absent"}
        self.constants = Counter(self._enter(item.name, _constant(item)) for item in graph.initializer)
        for place, value in enumerate(graph.input):
            self._enter(value.name, f"input {place}")
        self.nodes = Counter(self._node(node) for node in graph.node)
        self.codes = {name: self._tensors[name] for name in code_tensors(graph)}
        self.interface = Counter(
            [f"format {model.ir_version}"]
            + [f"operators {item.domain or 'ai.onnx'} {item.version}" for item in model.opset_import]
            + [f"input {value.name} {_type(value)}" for value in graph.input]
            + [f"output {value.name} {_type(value)} {self._tensors[value.name]}" for value in graph.output]
        )

    def _enter(self, name: str, content: str) -> str:
        self._tensors[name] = content
        self.titles[content] = name
        return content

    def _node(self, node: onnx.NodeProto) -> str:
        attributes = [_attribute(item) for item in sorted(node.attribute, key=lambda item: item.name)]
        parts = [node.domain, node.op_type, *attributes, *(self._tensors[name] for name in node.input)]
        content = _digest("\0".join(parts).encode())
        for place, name in enumerate(node.output):
            self._enter(name, f"{content} {place}")
        self.titles[content] = f"{node.op_type} {node.name or node.output[0]}"
        return content


def code_tensors(graph: onnx.GraphProto) -> list[str]:
    """Return the tensors that hold the codes of an activation, in the order of the nodes."""
    return [name for node in graph.node for name in node.output if name.endswith(CODES)]


def run_file(path: Path, images: NDArray[np.float32], fused: bool, as_written: bool) -> dict[str, NDArray[Any]]:
    """Return the logits of an ONNX file as it is, and the codes of a copy whose code tensors are outputs."""
    model = onnx.load(path)
    codes = code_tensors(model.graph)
    (logits,) = _session(model, fused, as_written).run(["logits"], {"input": images})
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in codes)
    found = _session(model, fused, as_written).run(codes, {"input": images})
    return {"logits": logits, **dict(zip(codes, found, strict=True))}


def _session(model: onnx.ModelProto, fused: bool, as_written: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if as_written:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _calibration_files(folder: Path) -> dict[str, bytes]:
    found = [folder / "calibration" / "metadata.jsonl", *(folder / "calibration" / "images").iterdir()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def _equal_numbers(old: NDArray[Any], new: NDArray[Any]) -> int:
    """How many numbers have the same bits; none where type or shape differ."""
    if (old.dtype, old.shape) != (new.dtype, new.shape):
        return 0
    bits = f"u{old.dtype.itemsize}"
    return int(np.count_nonzero(np.atleast_1d(old).view(bits) == np.atleast_1d(new).view(bits)))


def _compare_counts(what: str, old: Counter[str], new: Counter[str], titles: Mapping[str, str]) -> Comparison:
    unlike = [titles.get(item, item) for item in old if old[item] != new[item]]
    unlike += [titles.get(item, item) for item in new if item not in old]
    total = max(old.total(), new.total())
    return Comparison(what, (old & new).total(), total, what.rpartition(" ")[2], _first(unlike))


def _constant(tensor: onnx.TensorProto) -> str:
    content = onnx.numpy_helper.to_array(tensor)
    return f"{tensor.data_type} {list(tensor.dims)} {_digest(content.tobytes())}"


def _attribute(attribute: onnx.AttributeProto) -> str:
    if attribute.type == onnx.AttributeProto.TENSOR:
        return f"{attribute.name} {_constant(attribute.t)}"
    copy = onnx.AttributeProto()
    copy.CopyFrom(attribute)
    copy.ClearField("doc_string")
    return bytes(copy.SerializeToString(deterministic=True)).hex()


def _type(value: onnx.ValueInfoProto) -> str:
    sizes = [item.dim_value or item.dim_param for item in value.type.tensor_type.shape.dim]
    return f"{value.type.tensor_type.elem_type} {sizes}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _first(unlike: list[str]) -> str:
    return f"first unlike: {unlike[0]}" if unlike else ""
