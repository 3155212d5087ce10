"""`genq_export.quantize`: one call from a network in a program, a file or a name to its integer file."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import genq_export
from genq_export import UserError
from genq_export.pipeline.build import read_config
from genq_export.pipeline.quantized import Quantized
from tests.models.onnx_import.graphs import write_classifier

QUICK = ["verify.latency_runs=10", "verify.latency_batches=[1]", "verify.fidelity_images=4", "calibrate.images=8"]
SIZE: dict[str, Any] = {"input_size": (3, 32, 32), "preset": "quick", "bits": 8, "settings": QUICK}
HALF = {"mean": (0.5,), "std": (0.5,)}


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    return nn.Sequential(*layers).eval()


def photographs(count: int = 20) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def quantized() -> Quantized:
    return genq_export.quantize(network(), photographs(), **SIZE, **HALF)


def test_pictures_and_prepared_images_give_the_logits_of_the_float_network(quantized: Quantized) -> None:
    pixels = (photographs() * 255).round().byte()
    prepared = (pixels / 255 - 0.5) / 0.5
    expected = network()(prepared).detach().numpy()
    assert np.allclose(quantized.logits(pixels), expected, atol=0.05)
    assert np.allclose(quantized(prepared), quantized.logits(photographs()), atol=1e-4)
    assert quantized(prepared.numpy()).shape == (20, 4)
    with pytest.raises(UserError, match="no image among"):
        quantized.logits([])


def test_images_are_spread_over_what_was_given(quantized: Quantized) -> None:
    files = sorted((quantized.folder / "calibration" / "images").iterdir())
    found = [np.asarray(Image.open(path)) for path in files]
    given = (photographs() * 255).round().byte().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(found, given[[0, 3, 5, 8, 11, 14, 16, 19]])


def test_it_says_what_was_measured(quantized: Quantized) -> None:
    assert quantized.report.model == "module:Sequential" and len(quantized.report.layers) == 2
    assert repr(quantized).startswith("<module:Sequential, W8A8, ONNX Runtime: ")
    page = quantized._repr_html_()
    assert quantized.report.verdict in page and "differing codes" in page and "<style" not in page


def test_it_is_kept_where_it_is_saved_and_else_goes_with_the_object(tmp_path: Path) -> None:
    place = Path(tempfile.mkdtemp())
    (place / "build").mkdir()
    (place / "build" / "model.onnx").write_bytes(b"a")
    held = Quantized(place)
    assert held.save(tmp_path / "new" / "kept") == tmp_path / "new" / "kept"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["kept"]
    with pytest.raises(UserError, match="kept is there and not empty: give a new folder"):
        held.save(tmp_path / "new" / "kept")
    del held
    assert not place.exists() and (tmp_path / "new" / "kept" / "model.onnx").read_bytes() == b"a"


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no network": (3, {}, r"the network is int: a torch\.nn\.Module, a file or a name"),
    "two sources": (network(), {"images": photographs(), "generator": "leaves"}, "images and generator both say"),
    "a number of images": (network(), {"images": 64}, r"settings=\['calibrate\.images=64'\]"),
    "normalized images": (network(), {"images": photographs() - 1}, r"images \* std \+ mean"),
    "no input size": (network(), {}, "does not say what it takes"),
    "an unknown option": (network(), {"size": 3}, "size"),
    "an unknown target": (network(), {"target": "toaster"}, "toaster"),
    "an unknown name": ("resnet5o", {}, "unknown model 'resnet5o': did you mean resnet50"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_one_line_and_leaves_nothing(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    net, options, message = REFUSED[what]
    with pytest.raises(UserError, match=message):
        genq_export.quantize(net, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_files_and_names_and_a_folder_of_images(tmp_path: Path) -> None:
    write_classifier(tmp_path / "net.onnx", ("n", 3, 32, 32))
    shapes = ({0: torch.export.Dim("batch")},)
    torch.export.save(
        torch.export.export(network(), (torch.zeros(2, 3, 32, 32),), dynamic_shapes=shapes), tmp_path / "net.pt2"
    )
    images = tmp_path / "images"
    images.mkdir()
    for number, pixels in enumerate((photographs(9) * 255).byte().permute(0, 2, 3, 1).numpy()):
        Image.fromarray(pixels).save(images / f"{number}.png")
    quick = {"preset": "quick", "bits": 8, "settings": QUICK}
    for net in (tmp_path / "net.onnx", str(tmp_path / "net.pt2"), "fashion_resnet"):
        held = genq_export.quantize(net, images, **quick)  # type: ignore[arg-type]
        assert held.logits(images.iterdir()).shape[0] == 9
        assert read_config(held.folder).calibrate.calibration_set == images
    without = genq_export.quantize(network(), target="tensorrt", **SIZE, **HALF)
    assert read_config(without.folder).calibrate.generator == "leaves" and without.report.target == "tensorrt"
