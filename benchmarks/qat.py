"""What QAT changes, judged on real training images that took no part: divergence from float and top-1, by setting.

    python benchmarks/qat.py --out bench --model fashion_resnet --bits W2A4
    python benchmarks/qat.py --out bench --settings qat.frozen_share=0 "qat.weight_lr=0.01 qat.frozen_share=0"

    python benchmarks/qat.py --out bench --bits W4A4 --settings "" --ceiling 1024:20 "8192:6 qat.frozen_share=0"

Every setting starts from the same PTQ solution (kept in `--out`, which `quantization.py` may share) and keeps the epoch
that is best on held-out synthetic images, as the tool does. `--ceiling "COUNT:EPOCHS SETTINGS"` trains the same
solution on real training images. Test images are not looked at, and no image judges that was trained on, so settings
may be chosen by what this prints. Needs Fashion-MNIST's idx files (`--data`).
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from calibration import calibration_set, parse_with_shared
from numpy.typing import NDArray
from paired import paired_change
from quantization import SYNTHETIC, build_config, partial_folder
from torch import Tensor
from training_images import load_split

from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.config.model import ModelConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.models.source import load_model
from genq_export.network.files import load_reference
from genq_export.quantization import run as quantize_stage
from genq_export.quantization.algorithms.qat import EpochStore, train
from genq_export.quantization.method import Phase, alone
from genq_export.quantization.work import Work
from runtime_tests.verify.metrics import kl_divergence

JUDGED = 10_000
BATCH = 250
VARIANTS = (
    "",
    "qat.weight_lr=0.001",
    "qat.weight_lr=0.01",
    "qat.scale_lr=0",
    "qat.frozen_share=0",
    "qat.frozen_share=0 qat.weight_lr=0.01",
    "qat.frozen_share=0 qat.weight_lr=1e-9",
)


@dataclass(frozen=True)
class Judge:
    """Real training images, float32 [N, C, H, W], their labels int64 [N], and the float network's logits."""

    images: Tensor
    labels: Tensor
    teacher: Tensor

    def divergence(self, logits: Tensor) -> NDArray[np.float64]:
        """KL from float of every image, nats."""
        return kl_divergence(self.teacher.numpy(), logits.numpy())

    def row(self, name: str, logits: Tensor, usual: NDArray[np.float64] | None) -> str:
        """A row of the table: divergence and its error, the paired difference from `usual`, points lost, agreement."""
        each = self.divergence(logits)
        difference = "–" if usual is None else difference_of(each, usual)
        chosen, best = logits.argmax(1), self.teacher.argmax(1)
        lost = 100 * float((best == self.labels).double().mean() - (chosen == self.labels).double().mean())
        agreement = 100 * float((chosen == best).double().mean())
        error = float(each.std(ddof=1)) / len(each) ** 0.5
        return f"| {name} | {float(each.mean()):.4f} ± {error:.4f} | {difference} | {lost:+.2f} | {agreement:.2f} |"


def difference_of(each: NDArray[np.float64], usual: NDArray[np.float64]) -> str:
    """The mean difference with its 95 % interval."""
    change, half = paired_change(each, usual)
    return f"{change:+.4f} ± {half:.4f}"


def main() -> None:
    """Print the table, row by row."""
    options = _arguments()
    model = load_model(ModelConfig(name=options.model))
    images, _ = calibration_set(SYNTHETIC, options.model, options, options.seed)
    partial = partial_folder(options.model, options.bits, SYNTHETIC, options, options.seed)
    judge = _judge(model, options)
    print(
        f"{options.model} {options.bits}, seed {options.seed}, {options.epochs} epochs of QAT; {JUDGED} training images"
    )
    print("\n| | divergence, nats | paired difference | points lost | agreement, % |\n|---|---|---|---|---|")
    usual = None
    for number, variant in enumerate([None, *options.settings]):
        options.set = (variant or "").split()
        column = f"{options.bits} {'PTQ' if variant is None else 'QAT'}"
        config = build_config(options.model, column, options, options.seed)
        workspace = Workspace.open(options.out / "qat" / f"{partial.name}-{number}")
        (partial / "qat.safetensors").unlink(missing_ok=True)
        quantize_stage.run(workspace, config, model, images, partial, Progress(quiet=True))
        name = "PTQ" if variant is None else f"QAT, {variant or 'defaults'}"
        logits = answers(load_reference(workspace.folder), judge.images)
        print(judge.row(name, logits, usual), flush=True)
        usual = judge.divergence(logits) if variant is None else usual
    (partial / "qat.safetensors").unlink(missing_ok=True)
    for given in options.ceiling:
        images_and_epochs, *options.set = given.split()
        count, options.epochs = map(int, images_and_epochs.split(":"))
        config = build_config(options.model, f"{options.bits} QAT", options, options.seed)
        work = ptq_solution(config, model, images, partial)
        graph, forgetful = work.network.graph, EpochStore(load=lambda: None, save=lambda _: None)
        real, _ = training_images(model, options.data, JUDGED, count)
        train(graph, real, config.quantize, options.seed, forgetful, Progress(quiet=True))
        work.apply(Phase.FINISH)
        print(judge.row(f"QAT on real images, {given}", answers(graph, judge.images), usual), flush=True)


def ptq_solution(config: BuildConfig, model: LoadedModel, images: list[Path], partial: Path) -> Work:
    """What QAT starts from: blocks that are finished in `partial` are taken from there."""
    work = Work.begin(config, model, images, partial, Progress(quiet=True), alone)
    work.apply(Phase.FLOAT, Phase.BITS, Phase.BLOCKS)
    return work


def _judge(model: LoadedModel, options: argparse.Namespace) -> Judge:
    images, labels = training_images(model, options.data)
    return Judge(images, labels, answers(model.module, images))


def training_images(model: LoadedModel, data: Path, first: int = 0, count: int = JUDGED) -> tuple[Tensor, Tensor]:
    """Training images as the network takes them, and their labels: the first `JUDGED` of an order drawn once choose
    settings, where the test judges; those behind them may be trained on."""
    pixels, labels = load_split(data, "train")
    chosen = np.random.default_rng(12345).permutation(len(pixels))[first : first + count]
    return model.normalize(torch.from_numpy(zoo.to_rgb32(pixels[chosen]))), torch.from_numpy(labels[chosen])


@torch.inference_mode()
def answers(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Logits [N, classes] of images [N, C, H, W]."""
    return torch.cat([network(batch) for batch in images.split(BATCH)])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fashion_resnet", choices=list(zoo.ZOO_MODELS))
    parser.add_argument("--bits", default="W2A4", choices=["W4A4", "W2A4"])
    parser.add_argument(
        "--settings", nargs="+", default=list(VARIANTS), help="of quantize, blank between two; each a row"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20, help="epochs of QAT")
    parser.add_argument(
        "--ceiling", nargs="+", default=[], metavar="COUNT:EPOCHS", help="QAT on real images, and settings"
    )
    return parse_with_shared(parser)


if __name__ == "__main__":
    main()
