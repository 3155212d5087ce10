"""Attention is found in networks of timm's and in the files that they are exported to."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper
from torch import nn

from calibrate.filters.attention import attention_layers
from calibrate.filters.patch_entropy import recording
from genq_export.models.onnx_import.assemble import assemble
from genq_export.models.onnx_import.network import OnnxNetwork
from genq_export.models.onnx_import.reading import read_file
from genq_export.network.probabilities import LastProbabilities
from tests.models.onnx_import.graphs import draw, imported, write


def exported(module: nn.Module, path: Path, size: tuple[int, int, int], dynamo: bool = False) -> OnnxNetwork:
    """The network that its file becomes."""
    example = torch.randn(2, *size)
    batch = torch.export.Dim("batch", min=1, max=4096)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            keywords = {"dynamic_shapes": ({0: batch},), "external_data": False, "verbose": False, "opset_version": 23}
        else:
            keywords = {"dynamic_axes": {"x": {0: "batch"}}, "opset_version": 17}
        torch.onnx.export(module, (example,), path, dynamo=dynamo, input_names=["x"], **keywords)  # type: ignore[arg-type]
    return assemble(read_file(path), size).network


@pytest.mark.parametrize(
    ("name", "size", "dynamo"),
    [
        ("test_vit", 160, False),
        pytest.param("deit_tiny_distilled_patch16_224", 64, False, marks=pytest.mark.slow),
        pytest.param("test_vit", 160, True, marks=pytest.mark.slow),
        pytest.param("swin_tiny_patch4_window7_224", 56, False, marks=pytest.mark.slow),
    ],
)
def test_a_file_gives_the_entropies_of_its_network(name: str, size: int, dynamo: bool, tmp_path: Path) -> None:
    import timm

    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False, img_size=size).eval()
    found = exported(network, tmp_path / "net.onnx", (3, size, size), dynamo)
    assert found.num_prefix_tokens == getattr(network, "num_prefix_tokens", 0)
    assert len(attention_layers(found)) == len(attention_layers(network)) > 0
    images = torch.randn(2, 3, size, size)
    entropies = []
    for each in (network, found):
        with torch.inference_mode(), recording(each, 2) as seen:
            each(images)
        entropies.append(torch.stack(seen).sum(0))
    assert torch.allclose(*entropies, rtol=1e-3)


def test_attention_of_one_operator_is_found_with_its_heads(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "sizes"], ["t"]),
        helper.make_node("Attention", ["t", "t", "t"], ["y"], q_num_heads=2, kv_num_heads=2),
    ]
    network = imported(write(tmp_path / "n.onnx", nodes, {"sizes": np.array([0, 24, 8])}, opset=23)).network
    (layer,) = attention_layers(network)
    told: list[tuple[torch.Size, int]] = []
    layer.watched(lambda tokens, heads: told.append((tokens.shape, heads)))
    network(torch.randn(3, 4, 6, 8))
    assert told == [(torch.Size([3, 24, 8]), 2)]


def test_a_softmax_over_channels_is_no_attention(tmp_path: Path) -> None:
    nodes = [helper.make_node("Softmax", ["x"], ["s"]), helper.make_node("MatMul", ["s", "w"], ["y"])]
    assert attention_layers(imported(write(tmp_path / "n.onnx", nodes, {"w": draw(4, 8, 8)})).network) == []


def test_the_energy_of_a_file_that_gives_probabilities_is_that_of_its_logits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    classifier = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Softmax(1)).eval()
    found = exported(classifier, tmp_path / "net.onnx", (3, 8, 8))
    images = torch.randn(4, 3, 8, 8)
    with torch.no_grad(), LastProbabilities() as last:
        answer = found(images)
    assert torch.allclose(answer, classifier(images), atol=1e-6)
    assert torch.allclose(last.in_front(answer), classifier[:3](images), atol=1e-6)
