"""AIMET's `QuantizationSimModel` on the ONNX file: its per-channel configuration, AdaRound below 8 bits, a QDQ file.

Without steps for AdaRound weights take the nearest codes. Scales by minimum and maximum, its default. The first and the
last layer keep 8 bits. The file has codes of weights and int32 biases, as a runtime of integers needs them.
"""

from pathlib import Path

import aimet_onnx
import onnx
from job import Job, run

EDGE_BITS = 8  # of the first and the last layer, as in every other tool here
CONFIGURATION = Path(aimet_onnx.__file__).parent / "common" / "quantsim_config" / "default_config_per_channel.json"


def quantize(job: Job):
    kinds = {4: aimet_onnx.int4, 8: aimet_onnx.int8}
    inputs = [{job.input_name: image[None]} for image in job.calibration]
    sim = aimet_onnx.QuantizationSimModel(
        onnx.load(job.float_file), param_type=kinds[job.weight_bits], activation_type=kinds[job.activation_bits],
        config_file=str(CONFIGURATION), providers=["CPUExecutionProvider"],
        session_options_kwargs={"intra_op_num_threads": 1},
    )  # fmt: skip
    words = "per channel, min-max"
    if job.weight_bits < EDGE_BITS:
        keep_edges(sim)
        steps = job.settings["iterations"]
        if steps:
            aimet_onnx.apply_adaround(sim, inputs, num_iterations=steps)
            words += f", AdaRound, {steps} steps a layer"
    sim.compute_encodings(inputs)
    onnx.save(sim.to_onnx_qdq(export_int32_bias=True, prequantize_constants=True), job.model_file)
    return words, lambda: None


def keep_edges(sim) -> None:
    """8 bits for weights and inputs of the first and the last layer."""
    layers = [node for node in sim.model.nodes() if node.op_type in ("Conv", "Gemm", "MatMul")]
    for node in (layers[0], layers[-1]):
        for name in node.input:
            quantizer = sim.qc_quantize_op_dict.get(name.removesuffix("_qdq"))
            if quantizer is not None:
                quantizer.set_bitwidth(EDGE_BITS)


if __name__ == "__main__":
    run(quantize)
