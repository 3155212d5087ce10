"""What importing a large file takes: the process as a whole, libraries and all, against the file's size."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

LAYERS, WIDTH = 24, 1024
MOST = 6.0  # times its size

IMPORT = """
import sys, time
from genq_export.config.model import ModelConfig
from genq_export.models.source import load_model
started = time.process_time()
load_model(ModelConfig(name=sys.argv[1]))
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
print(int(status["VmHWM"].split()[0]) * 1024, time.process_time() - started)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_a_file_of_100_mb_takes_at_most_six_times_its_size(tmp_path: Path) -> None:
    path, random = tmp_path / "net.onnx", np.random.default_rng(0)
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["y0"])]
    tensors = [numpy_helper.from_array(random.standard_normal((3, WIDTH), np.float32), "w0")]
    nodes.append(helper.make_node("MatMul", ["y0", "w0"], ["z0"]))
    for number in range(1, LAYERS + 1):
        weight = random.standard_normal((WIDTH, WIDTH), np.float32) / np.float32(WIDTH**0.5)
        tensors.append(numpy_helper.from_array(weight, f"w{number}"))
        nodes.append(helper.make_node("MatMul", [f"z{number - 1}", f"w{number}"], [f"z{number}"]))
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])]
    made = [helper.make_tensor_value_info(f"z{LAYERS}", TensorProto.FLOAT, ["n", WIDTH])]
    graph = helper.make_graph(nodes, "layers", given, made, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    del graph, tensors
    done = subprocess.run([sys.executable, "-c", IMPORT, str(path)], capture_output=True, text=True, check=True)
    peak, seconds = map(float, done.stdout.split())
    assert peak <= MOST * path.stat().st_size and seconds <= 20
