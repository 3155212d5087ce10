"""What block reconstruction costs in time and memory, at 224 px; by default of a ResNet-50 with random weights.

    python benchmarks/reconstruction.py              # one step of a stage-2 bottleneck, as a multiple of bare training
    python benchmarks/reconstruction.py --memory     # peak memory of the whole PTQ with 1,024 images
    python benchmarks/reconstruction.py --sum     # 1,000 steps of every block, by sample: whole maps, and the defaults
    python benchmarks/reconstruction.py --sum precision=bfloat16 --network efficientnet_lite0

For the sum every block takes 5 steps that are not timed and 30 that are, on whole maps and with the settings of
`quantize.reconstruction` given, one behind the other; the sum over blocks is multiplied to 1,000 steps each.

The step is compared with forward and backward of the same block in float, batch 32, three at a time, alternating,
medians of processor time, which other work on the machine disturbs least. For memory, two iterations a block: more take
longer and hold no more. Images are noise; no cost depends on what they show.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from genq_export.config.build import BuildConfig
from genq_export.config.model import ModelConfig
from genq_export.config.quantize import QuantizeConfig
from genq_export.core.progress import Progress
from genq_export.models.source import load_model
from genq_export.network.hooks import set_quantization
from genq_export.quantization.activation_cache import ActivationCache, ActivationsInMemory
from genq_export.quantization.algorithms.reconstruction import learn
from genq_export.quantization.blocks import Block, split
from genq_export.quantization.blockwise import BlockStore, reconstruct
from genq_export.quantization.method import BlockImages
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.targets import rule_for

SIZE = (3, 224, 224)
BATCH = 32
_AT_A_TIME = 3
WHOLE = ["window=null"]
_WARM_UP = 5


def main() -> None:
    """Parse and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", action="store_true", help="peak memory instead of the cost of a step")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--block", default="layer2.1")
    parser.add_argument("--sum", nargs="*", metavar="FIELD=VALUE", help="all blocks, on whole maps and so")
    parser.add_argument("--network", default="resnet50", help="of the sum")
    parser.add_argument("--steps", type=int, default=30, help="timed in every block, for the sum")
    options = parser.parse_args()
    if options.memory:
        measure_memory(options.images)
    elif options.sum is not None:
        measure_sum(options.network, options.sum, options.steps)
    else:
        measure_step(options.block, options.rounds)


def network(name: str = "resnet50") -> nn.Module:
    """A ResNet-50 whose channels differ; or a network with the weights that it comes with."""
    if name != "resnet50":
        return load_model(ModelConfig(name=name)).module
    import timm

    torch.manual_seed(0)
    module = timm.create_model("resnet50", pretrained=False).eval().requires_grad_(False)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.uniform_(0.5, 1.5)
            part.bias.normal_(0, 0.1)
    return module


def settings(iterations: int, *others: str) -> QuantizeConfig:
    """W4A4 as `genq-export build resnet50` has it; others: of `quantize.reconstruction`."""
    changes = [f"quantize.reconstruction.{setting}" for setting in (f"iterations={iterations}", *others)]
    changes.append(f"quantize.batch_size={BATCH}")
    return BuildConfig.for_model("resnet50", settings=changes).quantize


def measure_step(name: str, rounds: int) -> None:
    """Print the cost of a reconstruction step of one block over that of its float forward and backward."""
    config = settings(iterations=1)
    gm, _ = prepare(network(), SIZE, config, rule_for("onnxruntime"))
    images = torch.randn(BATCH, *SIZE, generator=torch.Generator().manual_seed(0))
    calibrate_ranges(gm, [images[:8]])
    x = images
    for block in split(gm):
        set_quantization(block.module, False)
        with torch.no_grad():
            target = block.module(x)
        if block.name == name:
            break
        x = target
    else:
        raise SystemExit(f"no block {name}; there are {', '.join(block.name for block in split(gm))}")
    given = BlockImages(ActivationsInMemory(x), ActivationsInMemory(x), ActivationsInMemory(target))
    bare = _bare_timer(block, x, target)
    step = _step_timer(block, given)
    pairs = [(bare(), step()) for _ in range(rounds + 1)][1:]
    floats, steps = (statistics.median(values) for values in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    threads = torch.get_num_threads()
    print(f"block {name}: {tuple(x.shape)} -> {tuple(target.shape)}, {threads} thread(s), {rounds} rounds")
    print(f"float forward + backward {1000 * floats:8.1f} ms")
    print(f"reconstruction step      {1000 * steps:8.1f} ms")
    print(f"ratio                    {ratio:8.2f}    (goal: at most 1.40)")


def measure_sum(name: str, changed: list[str], steps: int) -> None:
    """Print what 1,000 steps of every block cost on whole maps and with other settings, and the ratio."""
    gm, _ = prepare(network(name), SIZE, settings(1), rule_for("onnxruntime"))
    x = torch.randn(BATCH, *SIZE, generator=torch.Generator().manual_seed(0))
    calibrate_ranges(gm, [x[:8]])
    total = [0.0, 0.0]
    for block in split(gm):
        set_quantization(block.module, False)
        with torch.no_grad():
            target = block.module(x)
        set_quantization(block.module, True)
        given = BlockImages(ActivationsInMemory(x), ActivationsInMemory(x), ActivationsInMemory(target))
        taken = [_seconds_of_a_step(block, given, steps, others) for others in (WHOLE, changed)]
        total = [before + 1000 * now for before, now in zip(total, taken, strict=True)]
        print(
            f"{block.name:12} {tuple(target.shape[1:])!s:16} {1000 * taken[0]:8.1f} {1000 * taken[1]:8.1f} ms",
            flush=True,
        )
        x = target
    ratio = total[0] / total[1]
    print(f"{name}, 1,000 steps a block, {torch.get_num_threads()} thread(s), seconds of processor time:")
    print(f"whole maps {total[0]:,.0f}, {' '.join(changed) or 'defaults'} {total[1]:,.0f}: {ratio:.2f} times as fast")


def _seconds_of_a_step(block: Block, given: BlockImages, steps: int, others: list[str]) -> float:
    """Processor time of one step, without setting up and without the first five."""
    state = {name: tensor.clone() for name, tensor in block.module.state_dict().items()}
    times = []
    for count in (_WARM_UP, _WARM_UP + steps):
        started = time.process_time()
        learn(block, given, settings(count, *others), seed=0)
        times.append(time.process_time() - started)
        block.module.load_state_dict(state)
    return (times[1] - times[0]) / steps


def _bare_timer(block: Block, x: Tensor, target: Tensor) -> Callable[[], float]:
    """Processor seconds of one float forward and backward."""

    def run() -> float:
        started = time.process_time()
        for _ in range(_AT_A_TIME):
            _bare_step(block, x, target)
        return (time.process_time() - started) / _AT_A_TIME

    return run


def _bare_step(block: Block, x: Tensor, target: Tensor) -> None:
    """Forward and backward of the float block to its input's and its weights' gradients, with the same loss."""
    set_quantization(block.module, False)
    weights = [layer.weight.requires_grad_() for layer in block.layers()]
    loss = (block.module(x) - target).square().mean()
    torch.autograd.grad(loss, weights)
    for weight in weights:
        weight.requires_grad_(False)
    set_quantization(block.module, True)


def _step_timer(block: Block, given: BlockImages) -> Callable[[], float]:
    """Processor seconds of one step: of a reconstruction with four steps less one with one, so without setting up."""

    def run(iterations: int) -> float:
        state = {name: tensor.clone() for name, tensor in block.module.state_dict().items()}
        started = time.process_time()
        learn(block, given, settings(iterations), seed=0)
        taken = time.process_time() - started
        block.module.load_state_dict(state)
        return taken

    return lambda: (run(1 + _AT_A_TIME) - run(1)) / _AT_A_TIME


def measure_memory(count: int) -> None:
    """Print the peak memory of the process, block by block as far as it has grown, and at the end."""
    config = settings(iterations=2)
    gib = 2**30
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        cache = ActivationCache(int(config.memory_budget), Path(folder))
        images = cache.rows((count, *SIZE))
        generator = torch.Generator().manual_seed(0)
        for start in range(0, count, BATCH):
            images.write(start, torch.randn(min(BATCH, count - start), *SIZE, generator=generator))
        gm, _ = prepare(network(), SIZE, config, rule_for("onnxruntime"))
        calibrate_ranges(gm, images.read(0, min(count, 256)).split(64))
        print(f"ranges searched, peak {_peak() / gib:.2f} GiB", flush=True)

        def say(number: int, _state: dict[str, Tensor]) -> None:
            taken = time.perf_counter() - started
            print(f"block {number:2d} learned after {taken:6.0f} s, peak {_peak() / gib:.2f} GiB", flush=True)

        store = BlockStore(lambda number: None, say)
        reconstruct(gm, images, config, 0, store, Progress(quiet=True), cache)
    budget, peak = int(config.memory_budget) / 1e9, _peak() / 1e9
    print(f"ResNet-50 PTQ, {count} images at 224 px, memory budget {budget:g} GB: peak {peak:.2f} GB (goal: 6)")


def _peak() -> int:
    """Largest resident size of the process so far, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
