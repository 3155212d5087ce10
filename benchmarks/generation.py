"""What the draw loop costs: images a second through the pool against a bare loop over the same pipeline.

    OMP_NUM_THREADS=1 python benchmarks/generation.py [--chunks 8] [--batch 16]

The bare loop calls the pipeline batch by batch and saves what comes out as PNG. Ours does the same with a seed an
image, checks of every image, facts and digest in the file, atomic writes, and the look whether a chunk is done.
Both draw the same prompts with fashion_sd and take turns, chunk by chunk. Processor time is that of all threads.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from calibrate.generators import Generator
from calibrate.pool import ImageRequest, Pool
from calibrate.prompts import TEMPLATES, PromptBook
from calibrate.sources.diffusers_images import DiffusersImages, load_diffusers_images
from genq_export import zoo
from genq_export.config.calibrate import CalibrateConfig


def main() -> None:
    """Alternate, and print seconds a chunk and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=8, help="timed chunks of each, behind one that warms up")
    parser.add_argument("--batch", type=int, default=16, help="images a chunk")
    options = parser.parse_args()
    config = CalibrateConfig(batch_size=options.batch)
    source = load_diffusers_images(Generator(zoo.ZOO_PIPELINE, zoo.pipeline_folder()), config, "cpu")
    book = PromptBook(zoo.CLASS_NAMES, TEMPLATES, seed=0)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "bare").mkdir()
        pool = Pool(Path(folder), source, seed=0)
        for chunk in range(options.chunks + 1):
            numbers = range(chunk * options.batch, (chunk + 1) * options.batch)
            orders = [ImageRequest(number, book.prompt(number, number % len(zoo.CLASS_NAMES))) for number in numbers]
            bare = seconds(lambda orders=orders: draw_bare(source, orders, Path(folder) / "bare"))
            ours = seconds(lambda orders=orders: list(pool.draw(orders)))
            rows.append((bare, ours))
    print("| time | bare loop, s a chunk | through the pool, s a chunk | ratio, median (quartiles) |")
    print("|---|---|---|---|")
    for place, name in enumerate(("wall clock", "processor")):
        pairs = [(bare[place], ours[place]) for bare, ours in rows[1:]]
        low, middle, high = statistics.quantiles([b / a for a, b in pairs], n=4)
        medians = " | ".join(f"{statistics.median(column):.2f}" for column in zip(*pairs, strict=True))
        print(f"| {name} | {medians} | {middle:.3f} ({low:.3f} to {high:.3f}) |")


def draw_bare(source: DiffusersImages, orders: list[ImageRequest], folder: Path) -> None:
    """What a script of ten lines would do."""
    with torch.inference_mode():
        images = source.pipeline(
            prompt=[order.prompt.text for order in orders],
            generator=[torch.Generator().manual_seed(order.number) for order in orders],
            num_inference_steps=source.sampler.steps,
            guidance_scale=source.sampler.guidance,
        ).images
    for order, image in zip(orders, images, strict=True):
        image.save(folder / f"{order.number}.png")


def seconds(run: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock and processor seconds of one call."""
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - processor


if __name__ == "__main__":
    main()
