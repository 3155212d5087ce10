"""Which images see where QAT ought to stop: divergence after every epoch, on images of several sources.

    python benchmarks/qat_epochs.py --out bench --model fashion_resnet --bits W2A4
    python benchmarks/qat_epochs.py --out bench --settings qat.frozen_share=0 --epochs 10

QAT goes on from the PTQ solution that `qat.py` has, on drawn images, and keeps nothing: every epoch is judged. By an
eighth of the drawn images that is held out (the tool stops by these), other drawn images, images distilled from the
network, dead leaves, and 10,000 real training images, which say what the epoch is worth. In brackets: the change from
PTQ. The last line is what stopping where a column is least would have given, and where the worst of all but real images
is least.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from calibration import calibration_set, parse_with_shared
from made_images import pool_of
from qat import answers, ptq_solution, training_images
from quantization import SYNTHETIC, build_config, partial_folder
from torch import Tensor

from genq_export import zoo
from genq_export.config.model import ModelConfig
from genq_export.core.progress import Progress
from genq_export.data.evaluation import load_images
from genq_export.models.loaded import LoadedModel
from genq_export.models.source import load_model
from genq_export.quantization.algorithms.qat import EpochStore, train
from runtime_tests.verify.metrics import kl_divergence

OTHERS = 256  # images of every source that only looks on
_OTHER_SEED = 100
_REAL = "real"


@dataclass
class Watch:
    """Divergence from float on images of each source, epoch by epoch; PTQ comes first."""

    network: Callable[[Tensor], Tensor]
    images: dict[str, Tensor]
    floats: dict[str, Tensor]
    seen: dict[str, list[float]] = field(default_factory=dict)

    @torch.inference_mode()
    def look(self) -> None:
        """Judge the network as it is now."""
        for source, images in self.images.items():
            each = kl_divergence(self.floats[source].numpy(), answers(self.network, images).numpy())
            self.seen.setdefault(source, []).append(float(each.mean()))


def main() -> None:
    """Train once, print the table."""
    options = _arguments()
    model = load_model(ModelConfig(name=options.model))
    drawn, _ = calibration_set(SYNTHETIC, options.model, options, options.seed)
    options.set = options.settings
    config = build_config(options.model, f"{options.bits} QAT", options, options.seed)
    partial = partial_folder(options.model, options.bits, SYNTHETIC, options, options.seed)
    graph = ptq_solution(config, model, drawn, partial).network.graph
    images = _sources(model, options)
    watch = Watch(graph, images, {name: answers(model.module, given) for name, given in images.items()})
    watch.look()
    store = EpochStore(load=lambda: None, save=lambda _: watch.look())
    history = train(graph, load_images(drawn, model), config.quantize, options.seed, store, Progress(quiet=True))
    print(_table({"held out": list(history.held_out_kl), **watch.seen}, options))


def _sources(model: LoadedModel, options: argparse.Namespace) -> dict[str, Tensor]:
    few = argparse.Namespace(**vars(options) | {"images": OTHERS})
    files = {
        "drawn": calibration_set(SYNTHETIC, model.name, few, options.seed + _OTHER_SEED)[0],
        "distilled": calibration_set("distilled", model.name, few, options.seed)[0],
        "dead leaves": pool_of("leaves", OTHERS, model, options.out),
    }
    sources = {name: load_images(paths, model) for name, paths in files.items()}
    return sources | {_REAL: training_images(model, options.data)[0]}


def _table(columns: dict[str, list[float]], options: argparse.Namespace) -> str:
    """Markdown: an epoch a row; at the end, the real column's change where each column would stop."""
    lines = [
        f"{options.model} {options.bits}, seed {options.seed}, KL from float, nats (change from PTQ):",
        "",
        f"| epoch | {' | '.join(columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for epoch in range(options.epochs + 1):
        cells = (f"{seen[epoch]:.4f} ({_change(seen, epoch):+.1%})" for seen in columns.values())
        lines.append(f"| {epoch or 'PTQ'} | {' | '.join(cells)} |")
    stops = {name: min(range(len(seen)), key=seen.__getitem__) for name, seen in columns.items()}
    on_all = [name for name in columns if name != _REAL]
    worst = [max(columns[name][epoch] / columns[name][0] for name in on_all) for epoch in range(options.epochs + 1)]
    stops["the least of the worst"] = min(range(len(worst)), key=worst.__getitem__)
    found = (f"{name}: epoch {epoch}, {_change(columns[_REAL], epoch):+.1%}" for name, epoch in stops.items())
    return "\n".join([*lines, "", "Stopped by, and what real images say of it: " + "; ".join(found)])


def _change(seen: list[float], epoch: int) -> float:
    return seen[epoch] / seen[0] - 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fashion_resnet", choices=list(zoo.ZOO_MODELS))
    parser.add_argument("--bits", default="W2A4", choices=["W4A4", "W2A4"])
    parser.add_argument("--settings", nargs="*", default=[], metavar="FIELD=VALUE", help="of quantize")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20, help="epochs of QAT")
    parser.add_argument("--distill-steps", type=int, default=200)
    return parse_with_shared(parser)


if __name__ == "__main__":
    main()
