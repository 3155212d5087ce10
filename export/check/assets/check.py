"""Does model.onnx compute on this machine what its integer model computes? Needs numpy and onnxruntime alone.

    python check.py [MODEL] [--float FLOAT.onnx] [--threads 1] [--runs 100] [--output result.json]

Exit code 0: the codes of every quantizer are the integer model's; 1: they are not.
"""

import argparse
import hashlib
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort


def main() -> int:
    folder = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?", default=folder.parent / "model.onnx", type=Path)
    parser.add_argument("--float", dest="float_model", type=Path)
    parser.add_argument("--threads", type=count, default=1)
    parser.add_argument("--runs", type=count, default=100)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    try:
        golden, data = json.loads((folder / "golden.json").read_bytes()), (folder / "golden.bin").read_bytes()
        model, probes = options.model.read_bytes(), (folder / "probes.bin").read_bytes()
        float_model = options.float_model.read_bytes() if options.float_model else b""
        whole = sha256(data) == golden["data"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"cannot read the check: {error}; copy the whole check folder again, with model.onnx beside it")
    if not whole:
        sys.exit("golden.bin is damaged or belongs to another build: copy the whole check folder again")
    if options.output and not options.output.absolute().parent.is_dir():
        sys.exit(f"--output {options.output}: there is no folder {options.output.parent}")
    since = golden.get("exact_since")
    plain = session(model, options.threads, golden["session"], since)
    probed = session(model + probes, options.threads, golden["session"], since)
    sessions = {"deployed": plain}
    if options.float_model:
        sessions["float"] = session(float_model, options.threads, {})
    result = compare(golden, data, plain, probed) | {
        "format": 1, "model": sha256(model), "golden": golden["data"], "runtime": f"ONNX Runtime {ort.__version__}",
        "device": f"{platform.node()}, {platform.machine()} {platform.system()}", "threads": options.threads,
        "latency_ms": latency(sessions, numbers(golden, data, 0), options.runs),
        "note": "" if sha256(model) == golden["model"] else "this is not the file that was made with this check",
    }  # fmt: skip
    print("\n".join(f"{name}: {value}" for name, value in result.items() if name != "format"))
    if options.output:
        options.output.write_text(json.dumps(result, indent=1))
    return 0 if result["verdict"].startswith("same") else 1


def count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no number from 0 on")
    return int(text)


def session(model: bytes, threads: int, entries: dict[str, str], since: str | None = None) -> ort.InferenceSession:
    options, cpu = ort.SessionOptions(), Path("/proc/cpuinfo")
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    if platform.machine() in ("x86_64", "AMD64") and not (cpu.is_file() and "vnni" in cpu.read_text()):
        if since and release(ort.__version__) < release(since):
            sys.exit(
                f"ONNX Runtime {ort.__version__} ends the process over this file on this processor, as 8-bit sums"
                f" must be made exact: install onnxruntime {since} or newer, or build with"
                f" export.minimum_runtime={ort.__version__}"
            )
        options.add_session_config_entry("session.x64quantprecision", "1")  # 8-bit sums saturate there otherwise
    for name, value in entries.items():
        options.add_session_config_entry(name, value)
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no public base class
        reason = str(error).splitlines()[0][:200]
        sys.exit(f"ONNX Runtime {ort.__version__} does not take the file: {reason}; copy model.onnx and check/ again")


def release(version: str) -> list[int]:
    return [int(part) for part in version.split(".")[:2]]


def numbers(golden: dict[str, Any], data: bytes, image: int) -> Any:
    channels, height, width = golden["shape"]
    size = channels * height * width
    pixels = np.frombuffer(data, np.uint8, size, golden["pixels"] + image * size).reshape(channels, -1)
    table = np.frombuffer(data, "<f4", channels * 256, golden["table"]).reshape(channels, 256)
    return np.take_along_axis(table, pixels.astype(np.int64), 1).reshape(1, *golden["shape"])


def compare(golden: dict[str, Any], data: bytes, plain: Any, probed: Any) -> dict[str, Any]:
    names, quantizers = [output["name"] for output in golden["outputs"]], golden["quantizers"]
    unlike: dict[str, tuple[int, int]] = {}
    equal, gap, answers, kept, moved, near = True, 0.0, 0, [0, 0], 0.0, True
    for image in range(golden["images"]):
        feed = {golden["input"]: numbers(golden, data, image)}
        found = plain.run(names, feed)
        watched = probed.run(names + [item["tensor"] for item in quantizers], feed)
        moved = max(moved, *(float(np.abs(a - b).max()) for a, b in zip(found, watched, strict=False)))
        same, first_here = [], True
        for output, value in zip(golden["outputs"], found, strict=True):
            size = int(np.prod(output["shape"]))
            truth = np.frombuffer(data, "<f4", size, output["at"] + 4 * size * image)
            equal &= value.tobytes() == truth.tobytes()
            gap = max(gap, float(np.abs(value.reshape(-1) - truth).max()))
            same.append(len(output["shape"]) != 1 or int(value.argmax()) == int(truth.argmax()))
        answers += all(same)
        for item, codes in zip(quantizers, watched[len(names) :], strict=True):
            truth = np.frombuffer(data, item["dtype"], item["kept"], item["at"] + image * item["kept"])
            wrong = np.abs(codes.reshape(-1)[:: item["step"]].astype(int) - truth)
            kept[0] += int((wrong > 0).sum())
            kept[1] += truth.size
            if codes.dtype != item["dtype"] or sha256(codes.tobytes()) != item["sha256"][image]:
                count, largest = unlike.get(item["name"], (0, 0))
                unlike[item["name"]] = count + int((wrong > 0).sum()), max(largest, int(wrong.max()))
                if first_here:  # what differs behind it follows from it
                    near &= wrong.max() <= 1 and (wrong > 0).sum() <= max(1, (1 - golden["least"]) * wrong.size)
                first_here = False
    first = next((item["name"] for item in quantizers if item["name"] in unlike), "")
    share = 1 - kept[0] / max(kept[1], 1)
    enough = near and answers == golden["images"]
    return {
        "verdict": "same codes" if not unlike else "same within its tolerance" if enough else "other codes",
        "images": golden["images"], "outputs_equal": equal, "outputs_largest_gap": gap, "same_answers": answers,
        "quantizers": len(quantizers), "quantizers_unlike": len(unlike), "codes_equal": share,
        "moved_by_watching": moved, "first_unlike": first, "first_unlike_codes": unlike.get(first, (0, 0))[0],
        "first_unlike_by": unlike.get(first, (0, 0))[1],
    }  # fmt: skip


def latency(files: dict[str, Any], image: np.ndarray, runs: int) -> dict[str, Any]:
    times: dict[str, list[float]] = {name: [] for name in files if runs}
    for _ in range(runs + 20 if runs else 0):
        for name, model in files.items():
            start = time.perf_counter()
            model.run(None, {model.get_inputs()[0].name: image})
            times[name].append((time.perf_counter() - start) * 1e3)
    wanted = {"median": 50, "p90": 90}
    return {
        name: {word: float(np.percentile(t[20:], share)) for word, share in wanted.items()} for name, t in times.items()
    }


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
