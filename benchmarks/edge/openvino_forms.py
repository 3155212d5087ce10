"""The file for OpenVINO beside the one for ONNX Runtime, both in OpenVINO: processor time of a call, in turns.

    python -m benchmarks.edge.openvino_forms fashion_mobilenet efficientnet_lite0 [--bits 8] [--turns 60]

Networks of the zoo, of a package, or of timm (random weights where there are no others). Ranges of random images:
time does not depend on them. One thread, batch of one. Needs genq-export[openvino].
"""

import argparse
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from export.fold import fold
from genq_export.config.build import BuildConfig
from genq_export.models.source import load_model
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.runtimes.openvino import OpenVinoSession
from genq_export.targets import target

TARGETS = ("onnxruntime", "openvino")


def main() -> None:
    """Print a line for each network and target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", metavar="NETWORK")
    parser.add_argument("--bits", type=int, default=8)
    parser.add_argument("--turns", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.networks:
        with TemporaryDirectory() as folder:
            files = {form: made(Path(folder), name, options.bits, form) for form in TARGETS}
            size = load_model(BuildConfig.for_model(name).model).input_size
            times, kernels = in_turns(files, np.random.default_rng(0).random((1, *size), np.float32), options.turns)
        ratio = float(np.median(times["openvino"] / times["onnxruntime"]))
        for form, found in times.items():
            print(f"{name}, for {form}: {np.median(found):.4f} ms, least {found.min():.4f}; {kernels[form]}")
        print(f"{name}: for openvino takes {ratio:.3f} of the time (median over turns)")


def made(folder: Path, name: str, bits: int, form: str) -> Path:
    """The file of a network for a target."""
    config = BuildConfig.for_model(name, bits=bits, target=form)
    model = load_model(config.model)
    prepared, _ = prepare(model.module, model.input_size, config.quantize, target(form).rule)
    calibrate_ranges(prepared, [torch.randn(8, *model.input_size, generator=torch.Generator().manual_seed(0))])
    path = folder / f"{form}.onnx"
    target(form).emit(fold(prepared), model.input_size, config.export, path)
    return path


def in_turns(files: dict[str, Path], image: np.ndarray, turns: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Milliseconds of processor time of a call by file, one a turn; and how many kernels of each kind run."""
    sessions = {form: OpenVinoSession(path, 1).compiled(1) for form, path in files.items()}
    kernels = {}
    for form, session in sessions.items():
        kinds = [str(node.get_rt_info()["layerType"].astype(str)) for node in session.get_runtime_model().get_ops()]
        counted = Counter(kind for kind in kinds if kind in ("Convolution", "Subgraph", "Eltwise", "Reorder"))
        kernels[form] = ", ".join(f"{count} {kind}" for kind, count in sorted(counted.items()))
    requests = {form: session.create_infer_request() for form, session in sessions.items()}
    found: dict[str, list[float]] = {form: [] for form in files}
    calls = 1
    for turn in range(-5, turns):
        for form in list(files) if turn % 2 else list(files)[::-1]:
            requests[form].infer([image])
            start = time.process_time()
            for _ in range(calls):
                requests[form].infer([image], share_inputs=True)
            spent = (time.process_time() - start) * 1e3 / calls
            if turn >= 0:
                found[form].append(spent)
        if turn == -1:
            calls = max(1, round(20 / spent))  # a turn takes 20 ms or a call
    return {form: np.array(values) for form, values in found.items()}, kernels


if __name__ == "__main__":
    main()
