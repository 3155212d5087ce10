"""The model under the names that the libraries feed it by, and the check that goes with it."""

import hashlib
from collections.abc import Mapping

import onnx

from export.check.read import read_golden
from genq_export.core.workspace import Workspace

INPUT = "pixel_values"
MODEL = "onnx/model_quantized.onnx"
# What the libraries call the one output of a network for a task. An embedding is read under either name: without
# pooling (Optimum, both feature extractors) and with it.
_OUTPUTS = {"segmentation": ("logits",), "embedding": ("pooler_output", "last_hidden_state")}


def output_names(model: onnx.ModelProto, task: str) -> dict[str, tuple[str, ...]]:
    """The names in a package by the name in the build; those behind the first are the same tensor once more."""
    names = [output.name for output in model.graph.output]
    return {name: _OUTPUTS.get(task, (name,)) if len(names) == 1 else (name,) for name in names}


def renamed(model: onnx.ModelProto, task: str) -> bytes:
    """The same graph, with `pixel_values` as the name of its one input, and outputs as the libraries read them."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    outputs = output_names(model, task)
    names = {copy.graph.input[0].name: INPUT, **{name: others[0] for name, others in outputs.items()}}
    inside = {name for node in copy.graph.node for name in node.output} - names.keys()
    names |= {name: f"{name}_inside" for name in inside & {*names.values()}}
    for value in (*copy.graph.input, *copy.graph.output):
        value.name = names.get(value.name, value.name)
    for node in copy.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for first, *others in outputs.values():
        (output,) = (value for value in copy.graph.output if value.name == first)
        for name in others:
            copy.graph.node.append(onnx.helper.make_node("Identity", [first], [name], name=f"{name}_alias"))
            again = copy.graph.output.add()
            again.CopyFrom(output)
            again.name = name
    return bytes(copy.SerializeToString(deterministic=True))


def check_files(workspace: Workspace, model: bytes, outputs: Mapping[str, tuple[str, ...]]) -> dict[str, bytes]:
    """The build's `check/`, of the renamed model; empty where the build has none.

    Args:
        workspace: of the build.
        model: as it is packaged.
        outputs: as `output_names` gives them.

    Raises:
        UserError: where its files are damaged.
    """
    folder = workspace.path("check")
    if not (folder / "golden.json").is_file():
        return {}
    kept = read_golden(workspace).golden
    called = tuple(item.model_copy(update={"name": outputs[item.name][0]}) for item in kept.outputs)
    digest = hashlib.sha256(model).hexdigest()
    golden = kept.model_copy(update={"model": digest, "input": INPUT, "outputs": called})
    files = {f"check/{path.name}": path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
    return files | {"check/golden.json": (golden.model_dump_json(indent=1) + "\n").encode()}
