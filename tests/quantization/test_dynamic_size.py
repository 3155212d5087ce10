"""Networks that are free in the size of images, in which steps, and why others are not."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.fold import fold
from export.onnx_qdq import export_onnx
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.network.hooks import record_codes
from genq_export.quantization.dynamic_size import DynamicSize, check_dynamic_size
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.quantization.rounding_ties import avoid_addition_ties, avoid_ties
from genq_export.runtimes.onnxruntime import ONNXRUNTIME
from genq_export.targets import rule_for
from tests.networks import ResidualNet, randomise_norms

SIZE = (3, 32, 32)


class Pyramid(nn.Module):
    """Halved twice, doubled, added: sizes that 4 divides; then tokens of the pixels, and a mean over these."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, 2, 1)
        self.further = nn.Conv2d(8, 8, 3, 2, 1)
        self.out = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down(x).relu()
        up = F.interpolate(self.further(skip).relu(), size=skip.shape[-2:])
        y = self.out(up + skip)[:, :, : skip.shape[2] - 1].relu()
        tokens = y.flatten(2).transpose(1, 2).reshape(x.shape[0], y.shape[2] * y.shape[3], 8)
        logits: Tensor = self.head(tokens.mean(1))
        return logits


class Doubled(Pyramid):
    """By a factor: only where the size divides is what is added of one size."""

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down(x).relu()
        y: Tensor = self.out(F.interpolate(self.further(skip).relu(), scale_factor=2.0) + skip)
        return y.mean((2, 3))


class Text(nn.Module):
    """The height goes into channels: free in its width."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 2, 1)
        self.head = nn.Linear(4 * 16, 6)

    def forward(self, x: Tensor) -> Tensor:
        columns = self.first(x).relu().flatten(1, 2).transpose(1, 2)
        answer: Tensor = self.head(columns)
        return answer.mean(1)


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 2, 1)
        self.head = nn.Linear(4 * 16 * 16, 6)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.first(x).relu().flatten(1))
        return logits


class Grid(nn.Module):
    """Adds where each pixel lies, computed from the size: a constant for one size."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return (y + torch.linspace(0, 1, y.shape[2])[:, None] * torch.linspace(0, 1, y.shape[3])).mean((2, 3))


class Places(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 2, 1)
        self.head = nn.Linear(4 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(F.adaptive_avg_pool2d(self.first(x).relu(), 2).flatten(1))
        return logits


def network(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return randomise_norms(make()).eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("make", "height", "step"),
    [(ResidualNet, True, 1), (Pyramid, True, 1), (Doubled, True, 32), (Text, False, 1)],
)
def test_codes_are_the_oracles_at_every_size(
    make: Callable[[], nn.Module], height: bool, step: int, tmp_path: Path
) -> None:
    module, path = network(make), tmp_path / "model.onnx"
    config = BuildConfig.for_model("resnet18", bits=8).quantize
    freed = DynamicSize("the network", module, SIZE)
    reference, _ = prepare(module, SIZE, config, rule_for("onnxruntime"), [freed])
    calibrate_ranges(reference, [torch.randn(4, *SIZE, generator=torch.Generator().manual_seed(1))])
    avoid_ties(reference)
    avoid_addition_ties(reference)
    integer_model, free = fold(reference), freed.found
    assert free is not None and (free.height, free.width, free.step) == (height, True, step)
    export_onnx(integer_model, SIZE, rule_for("onnxruntime"), path, False, free_size=free)
    session = ONNXRUNTIME.open(path, 1)
    for size in (SIZE, *free.tried()):
        images = torch.randn(3, *size, generator=torch.Generator().manual_seed(2))
        _, of_reference = record_codes(reference, images)
        _, of_oracle = record_codes(integer_model, images)
        _, of_file = session.codes(images.numpy())
        for name, codes in of_oracle.items():
            found = torch.from_numpy(of_file[name].astype("int32"))
            assert torch.equal(of_reference[name], codes), (size, name)
            assert torch.equal(found, codes) or torch.equal(found - 128, codes), (size, name)


@pytest.mark.parametrize(
    ("make", "reason"),
    [(Flat, "mat1 and mat2"), (Grid, "a constant of its own.*'add'"), (Places, "adaptive_avg_pool2d.*places")],
)
def test_a_network_of_one_size_is_refused_with_the_reason(make: Callable[[], nn.Module], reason: str) -> None:
    with pytest.raises(
        UserError, match=f"--dynamic-size: mine takes images of one size alone .*{reason}.*leave it out"
    ):
        check_dynamic_size("mine", network(make), SIZE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("resnet18", 1), ("mobilenetv3_small_050", 1), ("convnext_atto", 1), ("densenet121", 1), ("repvgg_a0", 1),
        ("tf_efficientnet_lite0", 32), ("efficientvit_b0", 32), ("vit_tiny_patch16_224", 0),
        ("swin_tiny_patch4_window7_224", 0), ("mobilevit_xxs", 0),
    ],
)  # fmt: skip
def test_families(name: str, step: int) -> None:
    """As docs/your-own-network.md says; step 0: refused."""
    import timm

    module = network(lambda: timm.create_model(name, num_classes=10))
    try:
        found = check_dynamic_size(name, module, (3, 224, 224)).step
    except UserError:
        found = 0
    assert found == step
