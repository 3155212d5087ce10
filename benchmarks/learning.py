"""What cheaper ways of learning cost in divergence: the zoo at W4A4, image by image against the defaults.

    python benchmarks/learning.py --out bench --models fashion_resnet fashion_mobilenet
    python benchmarks/learning.py --out bench --settings window=null iterations=500
    python benchmarks/learning.py --out bench --settings iterations=500 --judge training    # what chooses a default
    python benchmarks/learning.py --out bench --settings calibrate.prompts=mixup calibrate.guidance=1 --seeds 0 1

Every row is the same network with other settings and the same seeds: of `quantize.reconstruction`, or any that is named
whole (`quantize.wide_activations.mean_bits=5`). Those of `calibrate` draw a set of their own, others share one.
KL from the float network on the 10,000 test images, which take no part, or on as many training images, so that no
default is chosen by the images that judge it: of each image the mean over seeds. The paired difference from the
defaults has the 95 % interval of its mean over images; what another draw of the same settings does, the change of every
seed shows. Seconds are processor time of the whole quantize stage, mean over seeds.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from calibration import parse_with_shared
from grids import WIDTHS
from made_images import made_images
from numpy.typing import NDArray
from qat import answers, difference_of, training_images

from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.models.source import load_model
from genq_export.network.files import load_reference
from genq_export.quantization import run as quantize_stage
from runtime_tests.verify.metrics import kl_divergence

BITS = ("W8A8", "W4A8", "W4A4", "W2A4")
VARIANTS = ("window=null", "window=4", "precision=bfloat16", "quantize.batch_size=16", "iterations=500")


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["fashion_resnet", "fashion_mobilenet"])
    parser.add_argument("--settings", nargs="+", default=list(VARIANTS), help="blank between two; each a row")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--bits", default="W4A4", choices=BITS)
    parser.add_argument("--judge", default="test", choices=("test", "training"))
    options = parse_with_shared(parser)
    print("| network | learning | processor seconds | KL, nats | paired difference | of every seed |")
    print(6 * "|---" + "|")
    for name in options.models:
        usual = None
        for variant in ("", *options.settings):
            each, seconds = measured(name, variant.split(), options)
            usual = each if usual is None else usual
            difference = seeds = "–"
            if usual is not each:
                difference = difference_of(each.mean(0), usual.mean(0))
                seeds = " ".join(f"{change:+.4f}" for change in (each - usual).mean(1))
            print(
                f"| {name} | {variant or 'defaults'} | {seconds:.0f} | {each.mean():.4f} | {difference} | {seeds} |",
                flush=True,
            )


def measured(name: str, variant: Sequence[str], options: argparse.Namespace) -> tuple[NDArray[np.float64], float]:
    """KL of every seed and judging image, [seeds, N], and what quantizing took, mean over seeds."""
    divergences, times = [], []
    for seed in options.seeds:
        what = (name, options.bits, options.judge, seed, options.images, options.iterations, *variant)
        kept: Path = options.out / "learning" / f"{'-'.join(map(str, what)).replace('=', '_')}.npz"
        if not kept.is_file():
            kept.parent.mkdir(parents=True, exist_ok=True)
            each, seconds = quantized(name, variant, options, seed)
            np.savez(kept, each=each, seconds=seconds)
        with np.load(kept) as found:
            divergences.append(found["each"])
            times.append(float(found["seconds"]))
    return np.stack(divergences), float(np.mean(times))


def quantized(
    name: str, variant: Sequence[str], options: argparse.Namespace, seed: int
) -> tuple[NDArray[np.float64], float]:
    """Quantize, and answer the judging images."""
    given = dict(part.split("=", 1) for part in (f"iterations={options.iterations}", *variant))
    settings = [f"{named(field)}={value}" for field, value in given.items()]
    weights, activations = WIDTHS[options.bits]
    config = BuildConfig.for_model(
        name, weight_bits=weights, activation_bits=activations, images=options.images, seed=seed, settings=settings
    )
    model = load_model(config.model)
    drawn = "-".join(setting.replace("=", "_") for setting in settings if setting.startswith("calibrate."))
    images = made_images(config, model, options.out / "pools" / f"{drawn or 'plain'}-{options.images}-{seed}")
    with tempfile.TemporaryDirectory(dir=options.out) as place:
        folder = Path(place) / "build"
        started = time.process_time()
        quantize_stage.run(Workspace.open(folder), config, model, images, folder / "partial", Progress(quiet=True))
        seconds = time.process_time() - started
        reference = load_reference(folder)
    judging = judging_images(model, options)
    return kl_divergence(answers(model.module, judging).numpy(), answers(reference, judging).numpy()), seconds


def named(field: str) -> str:
    """A setting from the root, whose own name may be enough."""
    return field if "." in field else f"quantize.reconstruction.{field}"


def judging_images(model: LoadedModel, options: argparse.Namespace) -> torch.Tensor:
    """10,000 images as the network takes them."""
    if options.judge == "training":
        return training_images(model, options.data)[0]
    return model.normalize(torch.from_numpy(zoo.test_set()[0]))


if __name__ == "__main__":
    main()
