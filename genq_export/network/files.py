"""The quantized networks of a build folder: the fake-quant reference, and the integer model folded from it."""

from pathlib import Path

from genq_export.network import fake_quant, integer
from genq_export.network.interpreter import GraphNetwork
from genq_export.network.serialization import read_graph, write_graph

REFERENCE_FILES = ("reference.safetensors", "reference.json")
INTEGER_FILES = ("model.safetensors", "model.json")


def save_reference(network: GraphNetwork, folder: Path) -> list[str]:
    """Write the reference into a build folder; returns the names of the files."""
    return _write(network, folder, REFERENCE_FILES)


def load_reference(folder: Path) -> GraphNetwork:
    """The reference in eval mode: float32 [B, C, H, W] -> its outputs, computed on codes.

    Raises:
        UserError: where the build folder holds none, or a damaged one.
    """
    tensors, structure = REFERENCE_FILES
    return read_graph(folder / tensors, folder / structure, fake_quant.build_module)


def save_integer_model(network: GraphNetwork, folder: Path) -> list[str]:
    """Write the integer model into a build folder; returns the names of the files."""
    return _write(network, folder, INTEGER_FILES)


def load_integer_model(folder: Path) -> GraphNetwork:
    """The exact integer oracle: float32 [B, C, H, W] -> its outputs. Needs no float weights and no original checkpoint.

    Raises:
        UserError: where the build folder holds none, or a damaged one.
    """
    tensors, structure = INTEGER_FILES
    return read_graph(folder / tensors, folder / structure, integer.build_module)


def _write(network: GraphNetwork, folder: Path, names: tuple[str, str]) -> list[str]:
    tensors, structure = names
    write_graph(network, folder / tensors, folder / structure)
    return [tensors, structure]
