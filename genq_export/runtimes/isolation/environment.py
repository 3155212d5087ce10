"""How every Python process of ours is started: it imports our package, and nothing from the folder it is started in.

`python -m` puts the current folder in front of everything else; a stray `onnx.py` there would run in the place of the
package. Safe-path mode leaves that folder out, and of the environment only what is listed here is passed on.
"""

import os
import sys
from pathlib import Path

# -P: the current folder is not searched (PYTHONSAFEPATH, which children of the child see).
PYTHON = (sys.executable, "-P")
_PASSED_ON = {
    "HOME", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LOGNAME", "PATH", "PYTHONHOME", "SYSTEMROOT",
    "TEMP", "TMP", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV",
}  # fmt: skip
# Languages, threads, GPUs, and where libraries keep their caches.
_PREFIXES = ("LC_", "OMP_", "MKL_", "OPENBLAS_", "KMP_", "CUDA_", "NVIDIA_", "ORT_", "HF_", "TORCH", "XDG_", "GENQ_")
_ROOT = Path(__file__).resolve().parents[3]


def child_environment() -> dict[str, str]:
    """The environment of a child: named variables, and a search path on which this very package comes first."""
    kept = {name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith(_PREFIXES)}
    return {**kept, "PYTHONPATH": _search_path(), "PYTHONSAFEPATH": "1"}


def _search_path() -> str:
    """The worker must import this very package, installed or not; relative entries would mean the current folder."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join(dict.fromkeys([str(_ROOT), *filter(os.path.isabs, given)]))
