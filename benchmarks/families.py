"""Every family of timm on its way to the integer file: how far one small member of each comes, with random weights.

    python benchmarks/families.py -o families.jsonl [--only resnet18 deit_tiny_patch16_224] [--budget 240] [--list]
    python benchmarks/families.py -o families.jsonl --table [--before earlier.jsonl]

One line a family in the file, in a process of its own; a second call measures only what is missing. The steps:
captured, placed, stored (the reference is saved, loaded, and computes the same), folded (to the same codes), exported,
loaded (by ONNX Runtime), integer (every layer), codes (at most one in a thousand differs by itself: where every
quantizer in front hands on the runtime's codes; random weights at 8 bits multiply one such code to many behind it).
W8A8 for ONNX Runtime, random images, the smallest input that the architecture takes here. A family that takes more
seconds than its budget is stopped, and its row says where.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import result_lines

# A script's own folder is searched first, and a file here is named as our package `export` is.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

STEPS = ("captured", "placed", "stored", "folded", "exported", "loaded", "integer", "codes")
EQUAL = 0.999  # of the codes
IMAGES = 2
INPUT_NOISE_DB = 40.0

# One small member of each family, and the side of its input; 0: the smallest that it is made for.
REPRESENTATIVES = {
    "beit_base_patch16_224": 32, "botnet26t_256": 128, "halonet26t": 256, "lambda_resnet26t": 128, "gernet_s": 64,
    "repvgg_a0": 64, "mobileone_s0": 64, "regnetz_b16": 64, "resnet50_clip_gap": 64, "resnet50_clip": 0,
    "bat_resnext26ts": 256, "gcresnet33ts": 64, "eca_resnet33ts": 64, "cait_xxs24_224": 32, "coat_lite_tiny": 64,
    "convit_tiny": 32, "convmixer_768_32": 64, "convnext_atto": 64, "convnext_zepto_rms": 64, "convnextv2_atto": 64,
    "cpubone_nano": 64, "crossvit_9_240": 0, "csatv2": 0, "cspresnet50": 64, "cs3darknet_s": 64, "cspnext_tiny": 64,
    "darknet17": 64, "davit_tiny": 64, "deit_tiny_patch16_224": 32, "deit_tiny_distilled_patch16_224": 32,
    "deit3_small_patch16_224": 32, "densenet121": 64, "densenetblur121d": 64, "dla34": 64, "dla46_c": 64, "dpn48b": 64,
    "edgenext_xx_small": 64, "efficientformer_l1": 0, "efficientformerv2_s0": 0, "efficientnet_b0": 64,
    "efficientnet_lite0": 64, "efficientnet_b0_gn": 64, "efficientnet_cc_b0_4e": 64, "efficientnetv2_rw_t": 64,
    "fbnetc_100": 64, "mixnet_s": 64, "mnasnet_small": 64, "mobilenetv1_100": 64, "mobilenetv2_035": 64,
    "mobilenet_edgetpu_v2_xs": 64, "spnasnet_100": 64, "tinynet_e": 64, "efficientvim_m1": 64, "efficientvit_b0": 64,
    "efficientvit_m0": 0, "eva02_tiny_patch14_224": 28, "vit_pe_core_tiny_patch16_384": 32,
    "vit_small_patch16_dinov3": 32, "fasternet_t0": 64, "fastvit_t8": 64, "focalnet_tiny_srf": 64, "gcvit_xxtiny": 0,
    "ghostnet_050": 64, "ghostnetv2_100": 64, "ghostnetv3_050": 64, "hardcorenas_a": 64, "hgnetv2_b0": 64,
    "hiera_tiny_224": 0, "sam2_hiera_tiny": 64, "hrnet_w18_small": 64, "iformer_t": 64, "inception_next_atto": 64,
    "inception_resnet_v2": 96, "inception_v3": 96, "inception_v4": 96, "lcnetv2_small": 64, "levit_128s": 0,
    "levit_conv_128s": 0, "lowformer_b0": 64, "test_mambaout": 64, "test_coatnet": 0, "test_maxvit": 0,
    "maxvit_rmlp_pico_rw_256": 0, "caformer_s18": 64, "convformer_s18": 64, "poolformer_s12": 64,
    "poolformerv2_s12": 64, "mixer_s32_224": 0, "gmlp_ti16_224": 0, "gmixer_12_224": 0, "resmlp_12_224": 0,
    "fbnetv3_b": 64, "lcnet_035": 64, "mobilenetv3_small_050": 64, "mobilenetv4_conv_small_035": 64,
    "mobilenetv4_hybrid_medium_075": 64, "mobilevit_xxs": 64, "mobilevitv2_050": 64, "mvitv2_tiny": 64,
    "naflexvit_base_patch16_gap": 32, "nasnetalarge": 96, "nest_tiny": 0, "nextvit_small": 64, "test_nfnet": 64,
    "eca_nfnet_l0": 64, "nf_regnet_b0": 64, "pit_ti_224": 64, "pnasnet5large": 96, "pvt_v2_b0": 64, "rdnet_tiny": 64,
    "regnetx_002": 64, "regnety_002": 64, "repghostnet_050": 64, "repvit_m0_9": 64, "res2net50_14w_8s": 64,
    "resnest14d": 64, "resnet18": 64, "resnet10t": 64, "resnetblur18": 64, "ecaresnet26t": 64, "seresnet18": 64,
    "resnetv2_18": 64, "resnetv2_50x1_bit": 64, "rexnet_100": 64, "selecsls42": 64, "legacy_seresnet18": 64,
    "sequencer2d_s": 64, "shvit_s1": 64, "skresnet18": 64, "starnet_s050": 64, "swiftformer_xs": 64,
    "swin_tiny_patch4_window7_224": 56, "swinv2_tiny_window8_256": 64, "swinv2_cr_tiny_224": 64,
    "tiny_vit_5m_224": 64, "tnt_s_patch16_224": 32, "tresnet_m": 64, "twins_pcpvt_small": 64, "twins_svt_small": 64,
    "vgg11_bn": 64, "visformer_tiny": 64, "test_vit": 32, "test_vit2": 32, "vit_tiny_patch16_224": 32,
    "vit_base_patch16_siglip_224": 32, "vit_tiny_r_s16_p8_224": 32, "test_vit_relpos": 32, "samvit_base_patch16": 64,
    "vitamin_small_224": 64, "volo_d1_224": 64, "ese_vovnet19b_slim_dw": 64, "legacy_xception": 96, "xception41": 64,
    "xcit_nano_12_p16_224": 32,
}  # fmt: skip


@dataclass
class Row:
    """How far one network came. reached: the last of `STEPS` that held; reason: why the next does not.

    SQNR of the answers in dB: runtime_db, of ONNX Runtime against the reference; quantized_db, of the reference against
    the float network; noise_db, of the float network on images with noise of 40 dB against itself without it.
    """

    name: str
    size: int = 0
    reached: str = ""
    reason: str = ""
    layers: int = 0
    integer: int = 0
    in_float: list[str] = field(default_factory=list)
    largest_block: int = 0
    codes: int = 0
    differing: int = 0
    own: int = 0
    runtime_db: float | None = None
    quantized_db: float | None = None
    noise_db: float | None = None
    seconds: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("families.jsonl"))
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these networks, from the list or not")
    parser.add_argument("--budget", type=float, default=240, metavar="SECONDS", help="that one network may take")
    parser.add_argument("--list", action="store_true", help="print the representatives")
    parser.add_argument("--table", action="store_true", help="print the results as a table, and measure nothing")
    parser.add_argument("--before", type=Path, metavar="FILE", help="results of an earlier version, for the counts")
    parser.add_argument("--worker", metavar="NAME", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        _work(arguments.worker)
    elif arguments.list:
        print("\n".join(REPRESENTATIVES))
    elif arguments.table:
        earlier = result_lines.read(arguments.before, Row) if arguments.before else []
        print(table(result_lines.read(arguments.output, Row), earlier))
    else:
        _measure(arguments.output, arguments.only or list(REPRESENTATIVES), arguments.budget)


def _measure(output: Path, names: list[str], budget: float) -> None:
    known = {row.name for row in result_lines.read(output, Row)}
    rows = (_in_own_process(name, budget) for name in names if name not in known)
    for row in result_lines.kept(output, rows):
        print(_line(row), flush=True)


def _in_own_process(name: str, budget: float) -> Row:
    """The last row that the worker printed; one that is stopped or dies says so."""
    start = time.monotonic()
    command = [sys.executable, __file__, "--worker", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=budget)
        printed, ended = done.stdout, f"ended with {done.returncode}: {done.stderr.strip()[-200:]}"
    except subprocess.TimeoutExpired as error:
        printed = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        ended = f"stopped after {budget:.0f} s"
    lines = [line for line in printed.splitlines() if line.startswith("{")]
    row = Row(**json.loads(lines[-1])) if lines else Row(name)
    row.seconds = round(time.monotonic() - start, 1)
    if row.reached != STEPS[-1] and not row.reason:
        row.reason = ended
    return row


def _line(row: Row) -> str:
    rate = f", {row.differing} of {row.codes} codes differ, {row.own} by themselves" if row.codes else ""
    return (
        f"{row.name} ({row.size}): {row.reached or 'not captured'}, {row.integer} of {row.layers} layers integer{rate},"
        f" SQNR {' / '.join(_decibels(row))} dB, largest block {row.largest_block},"
        f" {row.seconds:.0f} s{'; ' if row.reason else ''}{row.reason}"
    )


def _decibels(row: Row) -> list[str]:
    """SQNR of the runtime, of the reference, and of the float network under noise."""
    found = (row.runtime_db, row.quantized_db, row.noise_db)
    return ["not measured" if part is None else "equal" if part == math.inf else f"{part:.1f}" for part in found]


def _work(name: str) -> None:
    """Print the row anew after every step."""
    row = Row(name)
    try:
        for step in _steps(row):
            row.reached = step
            print(json.dumps(asdict(row)), flush=True)
    except Exception as error:
        lines = str(error).strip().splitlines()
        row.reason = f"{type(error).__name__}: {lines[0][:300] if lines else ''}"
    print(json.dumps(asdict(row)), flush=True)


def _steps(row: Row) -> Iterator[str]:
    import torch

    from export.fold import fold
    from export.onnx_qdq import export_onnx
    from genq_export.config.quantize import QuantizeConfig
    from genq_export.network.files import load_reference, save_reference
    from genq_export.network.hooks import record_codes
    from genq_export.quantization.blocks import split
    from genq_export.quantization.capture import capture
    from genq_export.quantization.prepare import calibrate_ranges, prepare
    from genq_export.targets import rule_for

    torch.set_num_threads(1)
    rule = rule_for("onnxruntime")
    module, size = random_network(row.name)
    row.size = size[1]
    capture(module, size)
    yield "captured"
    images = torch.randn(IMAGES, *size, generator=torch.Generator().manual_seed(1))
    config = QuantizeConfig(weight_bits=8, activation_bits=8, first_last_bits=8)  # type: ignore[call-arg]
    network, placement = prepare(module, size, config, rule)
    calibrate_ranges(network, [images])
    row.layers = len(placement.layers) + len(placement.products)
    blocks = split(network)
    row.largest_block = max(len(block.layers()) for block in blocks)
    yield "placed"
    with tempfile.TemporaryDirectory() as folder:
        save_reference(network, Path(folder))
        reference = load_reference(Path(folder))
        answers, expected = record_codes(network, images)
        _same(record_codes(reference, images), (answers, expected))
        _same((_through(blocks, images), {}), (answers, {}))
        row.quantized_db, row.noise_db = _against_float(module, images, answers)
        yield "stored"
        oracle = fold(reference)
        _same(record_codes(oracle, images), (answers, expected))
        yield "folded"
        path = Path(folder) / "model.onnx"
        export_onnx(oracle, size, rule, path, int4_storage=True)
        yield "exported"
        yield from _in_runtime(row, path, reference, images, answers, expected)


def _in_runtime(
    row: Row, path: Path, reference: Any, images: Any, answers: Any, expected: dict[str, Any]
) -> Iterator[str]:
    import torch

    from export.audit.onnxruntime import audit_onnxruntime
    from genq_export.runtimes.onnxruntime import OnnxRuntimeSession

    session = OnnxRuntimeSession(path, threads=1)
    outputs, runtime = session.codes(images.numpy())
    (computed,) = outputs.values()
    row.runtime_db = _sqnr(answers, torch.from_numpy(computed))
    yield "loaded"
    audit = audit_onnxruntime(path)
    row.layers, row.integer = len(audit), sum(layer.integer for layer in audit)
    row.in_float = [f"{layer.name}: {layer.detail}" for layer in audit if not layer.integer]
    found = _centered(runtime, expected)
    row.codes = sum(part.numel() for part in expected.values())
    row.differing = sum(int((found[name] != part).sum()) for name, part in expected.items())
    row.own = _own_differences(reference, images, found)
    if row.in_float:
        row.reason = f"{len(row.in_float)} layers in float: {row.in_float[0]}"
        return
    yield "integer"
    if row.own > (1 - EQUAL) * row.codes:
        row.reason = f"{row.own} of {row.codes} codes differ by themselves"
        return
    yield "codes"


def _through(blocks: Any, images: Any) -> Any:
    import torch

    from genq_export.quantization.blocks import run_blocks

    with torch.no_grad():
        return run_blocks(blocks, images)


def _against_float(module: Any, images: Any, answers: Any) -> tuple[float, float]:
    """SQNR of quantized answers, and of the float network's own under noise in its images."""
    import torch

    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(2))
    noise *= images.norm() / noise.norm() * 10 ** (-INPUT_NOISE_DB / 20)
    with torch.no_grad():
        expected, noisy = module(images), module(images + noise)
    return _sqnr(expected, answers), _sqnr(expected, noisy)


def _sqnr(expected: Any, found: Any) -> float:
    """In dB; infinite where they are equal."""
    from genq_export.tasks.counts import sqnr_db

    difference = (found - expected).double()
    return float(sqnr_db(float(expected.double().square().mean()), float(difference.square().mean())))


def _centered(runtime: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """The runtime's codes as the oracle counts them; the container may shift a signed grid by 128."""
    import torch

    from runtime_tests.verify.code_comparison import container_shift

    found = {}
    for name, part in expected.items():
        codes = runtime[name].astype("int32")
        found[name] = torch.from_numpy(codes - container_shift(part.numpy(), codes))
    return found


def _own_differences(reference: Any, images: Any, runtime: dict[str, Any]) -> int:
    """How many codes differ where every quantizer in front hands on the runtime's."""
    from genq_export.network.hooks import hand_on

    differing = 0

    def see(part: Any, _: Any, codes: Any) -> None:
        nonlocal differing
        differing += int((codes != runtime[part.name]).sum())

    hand_on(reference, images, runtime, see)
    return differing


def _same(found: tuple[Any, dict[str, Any]], expected: tuple[Any, dict[str, Any]]) -> None:
    import torch

    differing = [name for name, codes in expected[1].items() if not torch.equal(codes, found[1][name])]
    if differing or not torch.equal(found[0], expected[0]):
        raise AssertionError(f"codes differ: {', '.join(differing[:3]) or 'the answers'}")


def random_network(name: str) -> tuple[Any, tuple[int, int, int]]:
    """A network whose channels differ in weights and BatchNorm statistics, in eval mode, and its input size."""
    import timm
    import torch
    from torch import nn

    torch.manual_seed(0)
    settings = timm.get_pretrained_cfg(name)
    side = REPRESENTATIVES.get(name, 0)
    keywords = {"img_size": side} if side and settings.fixed_input_size else {}
    module = timm.create_model(name, pretrained=False, num_classes=10, **keywords).eval().requires_grad_(False)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) and part.running_mean is not None:
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
            part.weight.uniform_(0.5, 1.5)
            part.bias.normal_(0, 0.1)
    side = side or settings.input_size[1]
    return module, (settings.input_size[0], side, side)


def table(rows: list[Row], earlier: list[Row]) -> str:
    """Counts by step, and one line a family that does not come through."""
    names = {row.name for row in rows}
    counted = {"now": rows} | ({"before": [row for row in earlier if row.name in names]} if earlier else {})
    lines = [f"| step | {' | '.join(counted)} |", f"|---|{'---|' * len(counted)}"]
    for number, step in enumerate(STEPS):
        reached = Counter({key: sum(_place(row) >= number for row in part) for key, part in counted.items()})
        lines.append(f"| {step} | {' | '.join(f'{reached[key]} of {len(part)}' for key, part in counted.items())} |")
    lines += ["", "| network | input | layers integer | codes that differ | by themselves | SQNR of the runtime |"]
    lines[-1] += " of the quantization | under noise | largest block | |"
    lines.append(f"|{'---|' * 10}")
    for row in sorted(rows, key=lambda row: row.name):
        differ = f"{row.differing} of {row.codes}" if row.codes else "not measured"
        note = "" if row.reached == STEPS[-1] else f"{row.reached or 'not captured'}; {row.reason}".replace("|", "/")
        lines.append(
            f"| {row.name} | {row.size} | {row.integer} of {row.layers} | {differ} | {row.own if row.codes else ''} |"
            f" {' | '.join(_decibels(row))} | {row.largest_block} | {note} |"
        )
    return "\n".join(lines)


def _place(row: Row) -> int:
    return STEPS.index(row.reached) if row.reached else -1


if __name__ == "__main__":
    main()
