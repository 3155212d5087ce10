"""Networks of transformers from a folder: logits, pixels and names as transformers has them, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from genq_export.config.build import BuildConfig
from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.models.description import read_description
from genq_export.models.source import has_class_names, identity, load_model, problems
from genq_export.pipeline.build import run_stages

LABELS = {0: "cat", 1: "dog", 2: "hen"}


def resnet(folder: Path) -> None:
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 16, 16], depths=[1, 1, 1, 1], num_labels=3, id2label=LABELS
    )
    transformers.ResNetForImageClassification(config).save_pretrained(folder)
    transformers.ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=0.875).save_pretrained(folder)


def vit(folder: Path) -> None:
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8,
        num_labels=3,
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


def mobilevit(folder: Path) -> None:
    config = transformers.MobileNetV2Config(num_labels=3, depth_multiplier=0.25, image_size=64)
    transformers.MobileNetV2ForImageClassification(config).save_pretrained(folder)
    transformers.MobileViTImageProcessor(
        size={"shortest_edge": 72}, crop_size={"height": 64, "width": 64}, do_normalize=True,
        image_mean=[0.1, 0.2, 0.3], image_std=[0.5, 0.6, 0.7],
    ).save_pretrained(folder)  # fmt: skip


@pytest.fixture(params=[resnet, vit, mobilevit], ids=lambda make: make.__name__)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    request.param(tmp_path / "net")
    return tmp_path / "net"


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))


def test_it_reads_pictures_and_answers_as_transformers_does(folder: Path) -> None:
    model = load_model(ModelConfig(name=str(folder)))
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    pixels = processor(picture(), return_tensors="pt")["pixel_values"]
    assert torch.equal(model.transform()(picture())[None], pixels) and model.input_size == pixels.shape[1:]
    network = transformers.AutoModelForImageClassification.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        assert torch.equal(model.module(pixels), network(pixels).logits)


def test_pixels_at_the_input_size_are_scaled_as_the_processor_scales_them(folder: Path) -> None:
    model = load_model(ModelConfig(name=str(folder)))
    height, width = model.input_size[1:]
    flat = np.full((height, width, 3), (10, 100, 200), np.uint8)
    by_picture = model.transform()(Image.fromarray(flat))[:, height // 2, width // 2]
    by_array = model.normalize(torch.from_numpy(flat)[None])[0, :, height // 2, width // 2]
    assert torch.allclose(by_picture, by_array, atol=1e-4)


def test_class_names_are_those_of_the_config(tmp_path: Path) -> None:
    resnet(tmp_path / "named")
    vit(tmp_path / "numbered")
    named, numbered = (ModelConfig(name=str(tmp_path / name)) for name in ("named", "numbered"))
    assert load_model(named).class_names == ("cat", "dog", "hen") and has_class_names(named)
    assert load_model(numbered).class_names is None and not has_class_names(numbered)


def test_mean_and_std_go_into_the_processor_and_a_crop_replaces_it(tmp_path: Path) -> None:
    vit(tmp_path / "net")
    plain, scaled, cropped = (
        load_model(ModelConfig.model_validate({"name": str(tmp_path / "net"), **given}))
        for given in ({}, {"mean": (0.1,), "std": (0.2,)}, {"crop": 0.5})
    )
    pixels = plain.transform()(picture()) * 0.5 + 0.5
    assert torch.allclose(scaled.transform()(picture()), (pixels - 0.1) / 0.2, atol=1e-5)
    assert cropped.processor is None and cropped.transform()(picture()).shape == (3, 32, 32)


def change(name: str, **values: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return apply


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "code of its own": (change("config.json", auto_map={"AutoModel": "evil.py"}), "code of its own"),
    "a processor of its own": (
        change("preprocessor_config.json", auto_map={"AutoImageProcessor": "e.E"}),
        "code of its own",
    ),
    "quantized": (change("config.json", quantization_config={"bits": 4}), "quantized already"),
    "another task": (
        change("config.json", architectures=["ViTForMaskedImageModeling"]),
        "no network that takes an image alone",
    ),
    "an unknown kind": (change("config.json", model_type="nothing"), "config cannot be read"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "no .*safetensors"),
    "other weights": (change("config.json", hidden_size=48, num_attention_heads=2), "weights"),
    "damaged weights": (lambda folder: (folder / "model.safetensors").write_bytes(b"no"), "weights"),
    "no JSON": (lambda folder: (folder / "config.json").write_text("{"), "config.json"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
    "no processor": (
        lambda folder: (folder / "preprocessor_config.json").unlink(),
        "give --input-size, --mean and --std",
    ),
    "timm's": (lambda folder: (folder / "config.json").write_text('{"architecture": "resnet18"}'), "local-dir:"),
    "an adapter": (lambda folder: (folder / "adapter_config.json").write_text("{}"), "adapter"),
}


@pytest.mark.parametrize(("damage", "words"), BAD.values(), ids=BAD)
def test_a_folder_that_cannot_be_taken_is_one_line(
    damage: Callable[[Path], object], words: str, tmp_path: Path
) -> None:
    vit(tmp_path / "net")
    damage(tmp_path / "net")
    config = ModelConfig(name=str(tmp_path / "net"))
    with pytest.raises(UserError, match=words) as error:
        for problem in problems(config):
            raise UserError(problem)
        load_model(config)
    assert "\n" not in str(error.value)


def test_weights_in_a_pickle_are_not_read(tmp_path: Path) -> None:
    vit(tmp_path / "net")
    (tmp_path / "net" / "model.safetensors").unlink()

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.mkdir, (tmp_path / "executed",)

    torch.save(Payload(), tmp_path / "net" / "pytorch_model.bin")
    with pytest.raises(UserError, match="weights cannot be loaded"):
        load_model(ModelConfig(name=str(tmp_path / "net")))
    assert not (tmp_path / "executed").exists()


def test_a_repository_that_is_nowhere_brings_a_remedy() -> None:
    (found,) = problems(ModelConfig(name="microsoft/resnet-50"))
    assert "hf download microsoft/resnet-50" in found


def test_the_identity_follows_the_files(tmp_path: Path) -> None:
    vit(tmp_path / "net")
    config = ModelConfig(name=str(tmp_path / "net"))
    before = identity(config)
    change("preprocessor_config.json", resample=3)(tmp_path / "net")
    assert identity(config) != before


@pytest.mark.slow
def test_a_build_to_the_integer_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vit(tmp_path / "net")
    config = BuildConfig.for_model(f"{tmp_path}/net", generator="leaves", preset="quick", bits=8, images=4)
    stages = ("calibrate", "quantize", "export")
    assert run_stages(config, tmp_path / "build", stages, Progress(quiet=True)) == stages
    described = read_description(tmp_path / "build")
    assert described is not None
    again = described.with_module(torch.nn.Identity())
    assert torch.equal(again.transform()(picture()), load_model(config.model).transform()(picture()))
