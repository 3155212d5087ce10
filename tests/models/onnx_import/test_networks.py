"""Whole networks out of torch's two exporters: layers are torch's, names the network's, and any batch is taken."""

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper
from torch import nn

from genq_export.core.errors import UserError
from genq_export.models.onnx_import.check import answers_of, check
from genq_export.models.onnx_import.load import load_network
from tests import networks
from tests.models.onnx_import.graphs import draw, imported, network, noise, runtime, write

EXPORTERS = ("torchscript", "one image", pytest.param("dynamo", marks=pytest.mark.slow))


def export(module: nn.Module, path: Path, size: tuple[int, int, int], exporter: str, opset: int = 17) -> Path:
    """Write a network as users do."""
    example = torch.randn(1 if exporter == "one image" else 2, *size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            batch = ({0: torch.export.Dim("batch", min=1, max=4096)},)
            torch.onnx.export(
                module.eval(), (example,), path, dynamo=True, dynamic_shapes=batch, external_data=False, verbose=False
            )
        else:
            axes = {"x": {0: "batch"}} if exporter == "torchscript" else None
            torch.onnx.export(
                module.eval(), (example,), path, dynamo=False, input_names=["x"], dynamic_axes=axes, opset_version=opset
            )
    return path


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("kind", ["ResidualNet", "GatedNet", "AttentionBlock", "ShiftNet"])
def test_a_network_comes_back_from_its_file(kind: str, exporter: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = networks.randomise_norms(getattr(networks, kind)()).eval()
    path = export(module, tmp_path / "net.onnx", networks.SIZE, exporter)
    loaded = load_network(path, None)
    found, size, classes = loaded.network, loaded.input_size, loaded.classes
    assert (size, classes) == (networks.SIZE, 5)
    images = noise(5, networks.SIZE)
    with torch.no_grad():
        torch.testing.assert_close(found(images), module(images), rtol=1e-4, atol=1e-5)


def test_layers_have_the_names_of_the_network(tmp_path: Path) -> None:
    path = export(networks.ResidualNet(), tmp_path / "net.onnx", networks.SIZE, "torchscript")
    names = dict(imported(path, networks.SIZE).network.named_modules())
    assert isinstance(names["stem"], nn.Conv2d)
    assert isinstance(names["head"], nn.Linear)


def test_written_out_layers_are_one(tmp_path: Path) -> None:
    """GELU, SiLU, hard-swish and LayerNorm as older opsets write them."""

    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(8)
            self.fc = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.fc(self.norm(x))
            return nn.functional.gelu(x) + nn.functional.silu(x) + nn.functional.hardswish(x)

    torch.manual_seed(0)
    path = export(Written(), tmp_path / "net.onnx", (4, 6, 8), "torchscript", opset=13)
    taken = imported(path)
    assert Counter(group.node.op_type for group in taken.groups) == Counter(
        {"LayerNormalization": 1, "MatMul": 1, "Gelu": 1, "Swish": 1, "HardSwish": 1, "Add": 2}
    )
    assert check(taken, (4, 6, 8), answers_of(taken.file, (4, 6, 8), False)) < 1e-5


def test_a_file_for_one_image_takes_any_number(tmp_path: Path) -> None:
    """Shapes with a 1 for the batch in them: reshape, expanded token, flatten with -1 behind the batch."""
    nodes = [
        helper.make_node("Reshape", ["x", "tokens"], ["t"]),
        helper.make_node("Concat", ["class", "t"], ["c"], axis=1),
        helper.make_node("Reshape", ["c", "flat"], ["y"]),
    ]
    tensors = {
        "tokens": np.array([1, 4, -1], np.int64), "flat": np.array([1, -1], np.int64), "class": draw(1, 1, 48),
    }  # fmt: skip
    path = write(tmp_path / "n.onnx", nodes, tensors, shape=(1, 4, 6, 8))
    images = noise(3)
    one_by_one = np.concatenate([runtime(path, image)[0] for image in images.split(1)])
    np.testing.assert_array_equal(network(path, images)[0], one_by_one)


def test_a_bias_that_is_reshaped_is_the_layers(tmp_path: Path) -> None:
    """As Paddle's exporter writes it."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Reshape", ["b", "shape"], ["r"]),
        helper.make_node("Add", ["c", "r"], ["y"]),
    ]
    tensors = {"w": draw(5, 4, 1, 1), "b": draw(5, seed=1), "shape": np.array([1, -1, 1, 1], np.int64)}
    path = write(tmp_path / "n.onnx", nodes, tensors)
    (layer,) = [part for part in imported(path).network.modules() if isinstance(part, nn.Conv2d)]
    assert layer.bias is not None and torch.equal(layer.bias, torch.from_numpy(tensors["b"]))
    np.testing.assert_allclose(network(path, noise())[0], runtime(path, noise())[0], rtol=1e-5, atol=1e-5)


def test_channels_last(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["c"], perm=[0, 3, 1, 2]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    loaded = load_network(write(tmp_path / "n.onnx", nodes, shape=("n", 6, 8, 3)), None)
    network, size, classes = loaded.network, loaded.input_size, loaded.classes
    images = noise(2, (3, 6, 8))
    assert (size, classes) == ((3, 6, 8), 3)
    torch.testing.assert_close(network(images), images.mean((2, 3)))


def test_gradients_are_those_of_finite_differences(tmp_path: Path) -> None:
    """Of every float tensor of the file but the statistics, which are buffers."""
    torch.manual_seed(0)
    module = networks.randomise_norms(networks.ResidualNet()).eval()
    path = export(module, tmp_path / "net.onnx", networks.SIZE, "dynamo")
    found = imported(path, networks.SIZE).network.double()
    images, mix = noise(2, networks.SIZE).double(), torch.linspace(-1, 1, 5, dtype=torch.float64)

    def loss() -> torch.Tensor:
        result: torch.Tensor = (found(images) * mix).sum()
        return result

    loss().backward()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in found.named_parameters():
        assert parameter.grad is not None, name
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        step = 1e-6
        with torch.no_grad():
            parameter += step * direction
            above = loss()
            parameter -= 2 * step * direction
            below = loss()
            parameter += step * direction
        measured = (above - below) / (2 * step)
        assert torch.isclose(measured, (parameter.grad * direction).sum(), rtol=1e-4, atol=1e-6), name


def test_statistics_are_buffers(tmp_path: Path) -> None:
    nodes = [helper.make_node("BatchNormalization", ["x", "g", "b", "m", "v"], ["y"])]
    tensors = {name: draw(4, low=0.1, seed=index) for index, name in enumerate("gbmv")}
    found = imported(write(tmp_path / "n.onnx", nodes, tensors)).network
    (norm,) = [part for part in found.modules() if isinstance(part, nn.BatchNorm2d)]
    assert {name for name, _ in norm.named_buffers()} == {"running_mean", "running_var", "num_batches_tracked"}
    assert {name for name, _ in norm.named_parameters()} == {"weight", "bias"}


def test_a_wrong_translation_is_found(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["x", "w"], ["h"], name="scaled"), helper.make_node("Relu", ["h"], ["y"])]
    taken = imported(write(tmp_path / "n.onnx", nodes, {"w": draw(4, 1, 1)}))
    with torch.no_grad():
        next(taken.network.parameters()).add_(0.01)
    # The file's tensor shares its memory with the parameter: the runtime's own copy of the file tells.
    with pytest.raises(UserError, match="is not what ONNX Runtime computes"):
        check(taken, (4, 6, 8), answers_of(taken.file, (4, 6, 8), False))


def test_names_out_of_a_file_replace_nothing(tmp_path: Path) -> None:
    names = ("forward", "a.b", "a", "../x", "_parameters", "training", "")
    tensors = {f"{name}.weight": draw(4, 4, 1, 1, seed=index) for index, name in enumerate(names)}
    values = ["x", *(f"v{index}" for index in range(len(names) - 1)), "y"]
    nodes = [
        helper.make_node("Conv", [values[index], f"{name}.weight"], [values[index + 1]])
        for index, name in enumerate(names)
    ]
    path = write(tmp_path / "n.onnx", nodes, tensors)
    np.testing.assert_allclose(network(path, noise())[0], runtime(path, noise())[0], rtol=1e-4, atol=1e-5)


def test_probabilities_near_zero_are_what_the_runtime_computes(tmp_path: Path) -> None:
    """Of an untrained detector: its sigmoid is computed by way of numbers around 1, and off by some steps of these."""
    nodes = [
        helper.make_node("Sub", ["x", "shift"], ["far"]),
        helper.make_node("Sigmoid", ["far"], ["p"]),
        helper.make_node("Concat", ["x", "p"], ["y"], axis=1),
    ]
    path = write(tmp_path / "n.onnx", nodes, {"shift": np.float32(16)})
    taken = imported(path)
    assert check(taken, (4, 6, 8), answers_of(taken.file, (4, 6, 8), False)) < 1e-6
