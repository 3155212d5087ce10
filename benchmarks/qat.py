"""What QAT changes, judged on real training images that took no part: divergence from float and top-1, by setting.

    python benchmarks/qat.py --out bench --model fashion_resnet --bits W2A4
    python benchmarks/qat.py --out bench --settings qat.frozen_share=0 "qat.weight_lr=0.01 qat.frozen_share=0"

Every setting starts from the same PTQ solution (kept in `--out`, which `quantization.py` may share) and keeps the epoch
that is best on held-out synthetic images, as the tool does. Test images are not looked at, so settings may be chosen by
what this prints. Needs Fashion-MNIST's idx files (`--data`).
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from calibration import calibration_set, parse_with_shared
from quantization import SYNTHETIC, build_config, partial_folder
from torch import Tensor
from training_images import load_split

from genq_export import zoo
from genq_export.config.model import ModelConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.models.source import load_model
from genq_export.network.files import load_reference
from genq_export.quantization import run as quantize_stage
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

    def row(self, name: str, network: Callable[[Tensor], Tensor]) -> str:
        """A row of the table: points lost, agreement, divergence and its standard error."""
        logits = answers(network, self.images)
        each = kl_divergence(self.teacher.numpy(), logits.numpy())
        chosen, best = logits.argmax(1), self.teacher.argmax(1)
        lost = 100 * float((best == self.labels).double().mean() - (chosen == self.labels).double().mean())
        agreement = 100 * float((chosen == best).double().mean())
        error = float(each.std(ddof=1)) / len(each) ** 0.5
        return f"| {name} | {float(each.mean()):.4f} ± {error:.4f} | {lost:+.2f} | {agreement:.2f} |"


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
    print("\n| | divergence, nats | points lost | agreement, % |\n|---|---|---|---|")
    for number, variant in enumerate([None, *options.settings]):
        options.set = (variant or "").split()
        column = f"{options.bits} {'PTQ' if variant is None else 'QAT'}"
        config = build_config(options.model, column, options, options.seed)
        workspace = Workspace.open(options.out / "qat" / f"{partial.name}-{number}")
        (partial / "qat.safetensors").unlink(missing_ok=True)
        quantize_stage.run(workspace, config, model, images, partial, Progress(quiet=True))
        name = "PTQ" if variant is None else f"QAT, {variant or 'defaults'}"
        print(judge.row(name, load_reference(workspace.folder)), flush=True)
    (partial / "qat.safetensors").unlink(missing_ok=True)


def _judge(model: LoadedModel, options: argparse.Namespace) -> Judge:
    images, labels = training_images(model, options.data)
    return Judge(images, labels, answers(model.module, images))


def training_images(model: LoadedModel, data: Path) -> tuple[Tensor, Tensor]:
    """`JUDGED` training images as the network takes them, and their labels: they choose settings, the test judges."""
    pixels, labels = load_split(data, "train")
    chosen = np.random.default_rng(12345).permutation(len(pixels))[:JUDGED]
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
    return parse_with_shared(parser)


if __name__ == "__main__":
    main()
