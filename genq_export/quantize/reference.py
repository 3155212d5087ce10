"""The fake-quant reference on disk: what every deployed file is held against."""

from pathlib import Path

from torch import fx

from genq_export.graph_file import read_graph, write_graph
from genq_export.quantize.fake_quant import build_module

TENSORS, STRUCTURE = "reference.safetensors", "reference.json"


def save_reference(gm: fx.GraphModule, folder: Path) -> list[str]:
    """Write the reference into a build folder; returns the names of the files."""
    write_graph(gm, folder / TENSORS, folder / STRUCTURE)
    return [TENSORS, STRUCTURE]


def load_reference(folder: Path) -> fx.GraphModule:
    """The reference in eval mode: float32 [B, C, H, W] -> logits, computed on codes.

    Raises UserError where the build folder holds none, or a damaged one.
    """
    return read_graph(folder / TENSORS, folder / STRUCTURE, build_module)
