"""Whether ONNX Runtime computes what a tool's file says: `genq-export verify-file`, on random numbers.

Where sums of 8-bit products saturate, with the option that makes them exact: a processor's fault is no tool's.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genq_export.runtimes.onnxruntime import sums_saturate

# What an explanation holds, and the word for it in a table.
_WORDS = {
    "border of two codes": "ties of two codes", "float bias": "float biases", "saturate": "saturating sums",
    "Softmax": "softmax kernel",
}  # fmt: skip
_RUNS, _SECONDS = 4, 1800


def codes_of(file: Path, size: Sequence[int]) -> dict[str, Any]:
    """Codes compared, differing, and differing by themselves, with the reasons of these; or why there is no count.

    size: channels, height and width of the input.
    """
    shape = ",".join(str(side) for side in (1, *size))
    command = [
        sys.executable, "-m", "genq_export", "verify-file", str(file), "--runs", str(_RUNS), "--shape",
        shape, "--json", "--quiet", *(["--exact-sums"] if sums_saturate() else []),
    ]  # fmt: skip
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"reasons": f"not done after {_SECONDS} s"}
    lines = said.stdout.strip().splitlines()
    if said.returncode not in (0, 1) or not lines or not lines[-1].startswith("{"):
        return {"reasons": (said.stderr.strip().splitlines() or ["no answer"])[-1][:200]}
    (runtime,) = (one for one in json.loads(lines[-1])["runtimes"] if one["runtime"] == "onnxruntime")
    if runtime["problem"] is not None:
        return {"reasons": runtime["problem"].partition(": [")[0][:200]}  # without the places in its source
    own = sum(item["own"] or 0 for item in runtime["quantizers"])
    why = Counter(word_of(item["explanation"] or "unexplained") for item in runtime["quantizers"] if item["own"])
    reasons = ", ".join(f"{reason} in {count}" for reason, count in why.most_common()) or "equal"
    if runtime["unseen_runs"]:
        reasons += f"; outputs differ: {runtime['unseen'] or 'unexplained'}"
    return {"codes": runtime["codes"], "differing": runtime["differing"], "own": own, "reasons": reasons}


def word_of(explanation: str) -> str:
    """Short, for tables."""
    return next((word for part, word in _WORDS.items() if part in explanation), explanation[:60])
