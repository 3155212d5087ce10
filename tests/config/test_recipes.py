"""The paper recipes: parse, plan with nothing missing but what a GPU host has, and run one step with random weights."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from genq_export.config.build import BuildConfig
from genq_export.core.errors import MissingError
from genq_export.core.progress import Progress
from genq_export.pipeline.build import run_stages
from genq_export.pipeline.plan import plan
from genq_export.pipeline.preflight import preflight

FOLDER = Path(__file__).resolve().parents[2] / "recipes"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
CONVOLUTIONAL = ("resnet18", "resnet50", "mobilenetv2", "mnasnet")
TRANSFORMERS = ("vit_base", "deit_base", "swin_base")

# What may be missing where there is neither hub nor GPU.
FETCHED_OR_FITTED = re.compile(
    r"pretrained weights of [\w.]+ \(timm/[\w.]+\) are not in the Hugging Face cache"
    r"|generator stable-diffusion-v1-5/stable-diffusion-v1-5 is not in the Hugging Face cache"
    r"|device 'cuda' is not available"
)


def test_every_network_of_the_paper_has_its_recipes() -> None:
    wanted = [f"{name}-{bits}-{kind}" for name in CONVOLUTIONAL for bits in ("w4a4", "w2a4") for kind in ("ptq", "qat")]
    wanted += [f"{name}-{bits}-ptq" for name in TRANSFORMERS for bits in ("w4a4", "w2a4")]
    assert sorted(wanted) == RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_lacks_nothing_but_hub_and_gpu(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imagenet" / "val" / "n01440764").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "imagenet" / "val" / "n01440764" / "a.png")
    monkeypatch.chdir(tmp_path)
    config = BuildConfig.read(FOLDER / f"{name}.yaml")
    assert [row["fresh"] for row in plan(config, tmp_path / "build")["stages"]] == [False] * 5
    try:
        preflight(config, tmp_path / "build")
    except MissingError as missing:
        unexpected = [problem for problem in missing.problems if not FETCHED_OR_FITTED.match(problem)]
        assert unexpected == []
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_what_its_name_and_its_command_say(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    config = BuildConfig.read(FOLDER / f"{name}.yaml")
    network, bits, kind = name.rsplit("-", 2)
    assert config.model.name.startswith(network)
    assert bits == f"w{config.quantize.weight_bits}a{config.quantize.activation_bits}"
    assert (config.quantize.qat.epochs > 0) == (kind == "qat")
    assert f"#   genq-export build --config recipes/{name}.yaml -o build/{name}\n" in text


def one_step(name: str, folder: Path, images: Path) -> BuildConfig:
    """The recipe with random weights, two images, one step of everything, on the CPU."""
    import timm

    values = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    torch.manual_seed(0)
    network = timm.create_model(values["model"]["name"], pretrained=False)
    save_file(network.state_dict(), folder / "random.safetensors")
    values["model"]["weights"] = str(folder / "random.safetensors")
    values["device"] = "cpu"
    values["verify"] = {}
    values["calibrate"]["calibration_set"] = str(images)
    values["quantize"] |= {"batch_size": 1, "memory_budget": "1GB"}
    values["quantize"]["reconstruction"]["iterations"] = 1
    if "qat" in values["quantize"]:
        values["quantize"]["qat"]["epochs"] = 1
    return BuildConfig.parse(values)


@pytest.fixture
def two_images(tmp_path: Path) -> Path:
    """A calibration set of two noise images, as a build would have left it."""
    from PIL import Image

    from genq_export.data.calibration_set import KEPT, Row, write_rows

    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(2):
        pixels = torch.randint(256, (64, 64, 3), generator=torch.Generator().manual_seed(number), dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(folder / "images" / f"{number}.png")
        rows.append(Row(f"images/{number}.png", number, None, None, "", number, {}, True, KEPT))
    write_rows(folder, rows)
    return folder


DEFAULT = ("mobilenetv2-w4a4-qat", "mnasnet-w2a4-ptq")


@pytest.mark.parametrize(
    "name", [*DEFAULT, *(pytest.param(name, marks=pytest.mark.slow) for name in RECIPES if name not in DEFAULT)]
)
def test_one_step_with_random_weights(name: str, tmp_path: Path, two_images: Path) -> None:
    config = one_step(name, tmp_path, two_images)
    stages = ("calibrate", "quantize") if name in DEFAULT else ("calibrate", "quantize", "export")
    assert run_stages(config, tmp_path / "build", stages, Progress(quiet=True)) == stages
    assert (tmp_path / "build" / "reference.safetensors").stat().st_size > 0
