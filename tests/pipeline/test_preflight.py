"""What cannot come to a good end is refused before the first slow step, and nothing is written."""

import shutil
from pathlib import Path

import pytest
from torch import Tensor, nn

from genq_export import build
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.pipeline.build import run_stages
from genq_export.pipeline.stages import find_stage

QUIET = Progress(quiet=True)
RECONSTRUCTION = "genq_export.quantization.algorithms.reconstruction"


def small(*settings: str) -> BuildConfig:
    few = ("calibrate.steps=4", "quantize.reconstruction.iterations=2", "quantize.batch_size=4")
    return BuildConfig.for_model("fashion_resnet", preset="quick", images=8, settings=[*few, *settings])


class Nothing(nn.Module):
    """A network without a layer to quantize."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Branching(nn.Module):
    """A network that does not trace."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 10, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.conv(x).mean((2, 3))
        return found if found.sum() > 0 else -found


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("quantize.keep_float=[nothing*]", "no layer fits the pattern 'nothing\\*'"),
        ("quantize.layers={nothing: {weight_bits: 8}}", "no layer fits the pattern 'nothing'"),
        ("quantize.relu_refit.steps=10", "no GELU of this network lies between two linear layers"),
        ("quantize.reconstruction.precision=bfloat16", "this machine has no instructions for it"),
    ],
)
def test_what_the_network_or_the_machine_lacks_is_said_before_images_are_drawn(
    setting: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{RECONSTRUCTION}.computes_in_bfloat16", lambda device: False)
    with pytest.raises(UserError, match=reason):
        run_stages(small(setting), tmp_path / "build", ("calibrate", "quantize"), QUIET)
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize(("make", "reason"), [(Nothing, "no convolution or linear"), (Branching, "does not trace")])
def test_a_network_that_cannot_be_quantized_is_refused_before_images_are_drawn(
    make: type[nn.Module], reason: str, tmp_path: Path
) -> None:
    config = BuildConfig.for_model(
        "mine", preset="quick", generator="leaves", settings=["model.input_size=[3, 32, 32]"]
    )
    with pytest.raises(UserError, match=reason):
        build(config, tmp_path / "build", module=make().eval())
    assert not (tmp_path / "build").exists()


def test_images_alone_are_made_for_any_network(tmp_path: Path) -> None:
    assert run_stages(small("quantize.keep_float=[nothing*]"), tmp_path / "build", ("calibrate",), QUIET)


def test_what_is_fresh_needs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tmp_path / "made"
    assert run_stages(small(), made, ("calibrate",), QUIET) == ("calibrate",)
    monkeypatch.setattr(type(find_stage("calibrate")), "problems", lambda *_: ["the generator is not here"])
    shutil.copytree(made, tmp_path / "copied")
    assert run_stages(small(), tmp_path / "copied", ("calibrate", "quantize"), QUIET) == ("quantize",)
    with pytest.raises(UserError, match="the generator is not here"):
        run_stages(small("seed=1"), made, ("calibrate", "quantize"), QUIET)
