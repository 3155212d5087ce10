"""TVM's Relax, compiled for this CPU."""

import numpy as np
import onnx
import tvm
from job import Run, main
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx


def open_model(path: str) -> tuple[Run, int | None, int | None]:
    model = onnx.load(path)
    name = model.graph.input[0].name
    module = from_onnx(model, shape_dict={name: (1, 3, 32, 32)})
    machine = relax.VirtualMachine(tvm.compile(module, "llvm"), tvm.cpu())
    return lambda image: _numpy(machine["main"](tvm.runtime.tensor(image))), None, None


def _numpy(found: object) -> np.ndarray:
    return (found if hasattr(found, "numpy") else found[0]).numpy()  # type: ignore[index]


main(tvm.__version__, open_model)
