"""What the scores cost: one pass that scores a pool against the plain forward pass over the same images.

    OMP_NUM_THREADS=1 python benchmarks/scoring.py [--rounds 15] [--images 128] [--networks fashion_resnet resnet50 …]

One table on standard output. Plain and scoring passes take turns, round by round, on images already in memory; what is
compared is the processor time of the one thread, so that other work on the machine counts as little as it can. Networks
of the zoo see its test images with their trained weights, the others the same images enlarged and random weights.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from calibrate.filters.filter import filters_for
from calibrate.scoring import FORWARD_BATCH, score_group
from genq_export import zoo
from genq_export.config.calibrate import CalibrateConfig
from genq_export.config.model import ModelConfig
from genq_export.models.loaded import LoadedModel
from genq_export.models.source import load_model

LARGE = ("resnet50", "mobilenetv2_100", "deit_tiny_patch16_224", "swin_tiny_patch4_window7_224")
LARGE_IMAGES, LARGE_BATCH = 8, 8  # of 224 pixels, a pass of which takes about a second


def main() -> None:
    """Measure each network and print its row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=[*zoo.ZOO_MODELS, *LARGE])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--images", type=int, default=128, help="for networks of the zoo")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | score | plain, ms an image | scoring, ms an image | ratio, median (quartiles) |")
    print("|---|---|---|---|---|")
    for name in options.networks:
        print(row(name, options.images, options.rounds), flush=True)


@torch.inference_mode()
def row(name: str, images: int, rounds: int) -> str:
    """One line of the table."""
    model, batches = prepared(name, images)
    count = sum(len(batch) for batch in batches)
    settings = CalibrateConfig()  # type: ignore[call-arg]

    def plain() -> None:
        for batch in batches:
            model.module(batch)

    def scoring() -> None:
        score_group(model, batches, settings)

    seconds = [(processor_time(plain), processor_time(scoring)) for _ in range(rounds + 2)][2:]
    low, middle, high = statistics.quantiles([b / a for a, b in seconds], n=4)
    times = [f"{1e3 * statistics.median(column) / count:.2f}" for column in zip(*seconds, strict=True)]
    score = " and ".join(each.name.replace("_", " ") for each in filters_for(model)[1:])
    return f"| {name} | {score} | {times[0]} | {times[1]} | {middle:.2f} ({low:.2f} to {high:.2f}) |"


def prepared(name: str, images: int) -> tuple[LoadedModel, list[torch.Tensor]]:
    """A network and batches of the zoo's test images, as the calibrate stage would hand them to it."""
    pixels, _ = zoo.test_set()
    if name in zoo.ZOO_MODELS:
        model = load_model(ModelConfig(name=name))
        return model, list(model.normalize(torch.from_numpy(pixels[:images])).contiguous().split(FORWARD_BATCH))
    import timm

    torch.manual_seed(0)
    module = timm.create_model(name, pretrained=False).eval().requires_grad_(False)
    half = (0.5, 0.5, 0.5)
    model = LoadedModel(name, module, (3, 224, 224), half, half, 1.0, "bilinear", None, 1000)
    small = model.normalize(torch.from_numpy(pixels[:LARGE_IMAGES]))
    return model, list(F.interpolate(small, size=224, mode="bilinear").contiguous().split(LARGE_BATCH))


def processor_time(run: Callable[[], None]) -> float:
    """Seconds this thread computes in one call."""
    started = time.thread_time()
    run()
    return time.thread_time() - started


if __name__ == "__main__":
    main()
