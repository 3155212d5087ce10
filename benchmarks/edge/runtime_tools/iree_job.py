"""IREE, compiled for this CPU."""

import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import iree.runtime
from job import Run, main


def open_model(path: str) -> tuple[Run, int | None, int | None]:
    with tempfile.TemporaryDirectory() as folder:
        text, code = Path(folder, "model.mlir"), Path(folder, "model.vmfb")
        _tool("import-onnx", path, "-o", text, "--opset-version", "21")
        _tool(
            "compile",
            text,
            "-o",
            code,
            "--iree-hal-target-device=local",
            "--iree-hal-local-target-device-backends=llvm-cpu",
            "--iree-llvmcpu-target-cpu=host",
        )
        module = iree.runtime.load_vm_flatbuffer_file(str(code), driver="local-sync")
    function = module[
        next(
            name
            for name in module.vm_module.function_names
            if not name.startswith("__") and not name.endswith("$async")
        )
    ]
    return lambda image: function(image).to_host(), None, None


def _tool(name: str, *arguments: object) -> None:
    program = os.path.join(os.path.dirname(sys.executable), f"iree-{name}")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(next((line for line in done.stderr.splitlines() if "error:" in line), f"error: iree-{name} crashed"))


main(version("iree-base-compiler"), open_model)
