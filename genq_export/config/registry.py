"""Every part that a config chooses by name, and where it lives. One line adds a part of a kind.

Values are import paths, `package.module:name`, resolved by `genq_export.core.registry` when the part is used.
"""

# The flow, in order.
STAGES: dict[str, str] = {
    "calibrate": "calibrate.stage:CalibrateStage",
    "quantize": "genq_export.quantization.stage:QuantizeStage",
    "export": "export.stage:ExportStage",
    "verify": "runtime_tests.verify.stage:VerifyStage",
    "report": "runtime_tests.report.stage:ReportStage",
}

# What a build is made for: rule, emitter, auditor (genq_export/targets/).
TARGETS: dict[str, str] = {
    "onnxruntime": "genq_export.targets.onnxruntime:ONNXRUNTIME",
    "tensorrt": "genq_export.targets.tensorrt:TENSORRT",
    "openvino": "genq_export.targets.openvino:OPENVINO",
}

# What runs a file: sessions, codes, timing (genq_export/runtimes/).
RUNTIMES: dict[str, str] = {
    "onnxruntime": "genq_export.runtimes.onnxruntime:ONNXRUNTIME",
    "onnxruntime-unfused": "genq_export.runtimes.onnxruntime:ONNXRUNTIME_UNFUSED",
    "openvino": "genq_export.runtimes.openvino:OPENVINO",
    "openvino-as-written": "genq_export.runtimes.openvino:OPENVINO_AS_WRITTEN",
    "tensorrt": "genq_export.runtimes.tensorrt:TENSORRT",
}

# Where a network comes from (genq_export/models/), asked in this order; timm's takes every plain name that is left,
# transformers' every folder and name with a slash.
DOORS: dict[str, str] = {
    "zoo": "genq_export.models.zoo:ZOO",
    "package": "genq_export.models.package:PACKAGE",
    "module": "genq_export.models.given_module:GIVEN_MODULE",
    "python": "genq_export.models.python_file:PYTHON_FILE",
    "program": "genq_export.models.program.door:PROGRAM",
    "torchvision": "genq_export.models.torchvision_hub:TORCHVISION",
    "onnx_file": "genq_export.models.onnx_file:ONNX_FILE",
    "timm": "genq_export.models.timm_hub:TIMM",
    "transformers": "genq_export.models.transformers_hub:TRANSFORMERS",
}

# What a network is for (genq_export/tasks/); the first whose shapes a network's outputs fit is taken where nobody says.
TASKS: dict[str, str] = {
    "classification": "genq_export.tasks.classification:CLASSIFICATION",
    "segmentation": "genq_export.tasks.segmentation:SEGMENTATION",
    "dense": "genq_export.tasks.dense:DENSE",
    "detection": "genq_export.tasks.detection:DETECTION",
    "embedding": "genq_export.tasks.embedding:EMBEDDING",
    "sequence": "genq_export.tasks.sequence:SEQUENCE",
    "tensors": "genq_export.tasks.tensors:TENSORS",
}

# What makes calibration images (calibrate/sources/), by the value of --generator.
SOURCES: dict[str, str] = {
    "leaves": "calibrate.sources.drawn_pictures:DEAD_LEAVES",
    "text": "calibrate.sources.drawn_pictures:TEXT",
    "distill": "calibrate.sources.distillation:DISTILLATION",
    "fashion_scenes": "calibrate.sources.garment_scenes:GARMENT_SCENES",
}

# Pictures that are drawn by arithmetic, by the value of --generator: verification draws some that calibrated nothing.
# The first serves networks whose images come from elsewhere.
PICTURES: dict[str, str] = {
    "leaves": "genq_export.data.dead_leaves:pictures",
    "text": "genq_export.data.text_pictures:pictures",
}

# What tells good calibration images from others (calibrate/filters/), by column of metadata.jsonl, in order of use.
FILTERS: dict[str, str] = {
    "energy": "calibrate.filters.energy:ENERGY",
    "bn_sensitivity": "calibrate.filters.bn_sensitivity:BN_SENSITIVITY",
    "patch_entropy": "calibrate.filters.patch_entropy:PATCH_ENTROPY",
}

# What turns a prepared network into a good quantized one (genq_export/quantization/algorithms/).
METHODS: dict[str, str] = {
    "relu_refit": "genq_export.quantization.algorithms.relu_refit:RELU_REFIT",
    "layernorm_equalization": "genq_export.quantization.algorithms.layernorm_equalization:LAYERNORM_EQUALIZATION",
    "channel_equalization": "genq_export.quantization.algorithms.channel_equalization:CHANNEL_EQUALIZATION",
    "mixed_precision": "genq_export.quantization.algorithms.mixed_precision:MIXED_PRECISION",
    "wide_activations": "genq_export.quantization.algorithms.wide_activations:WIDE_ACTIVATIONS",
    "float_layers": "genq_export.quantization.algorithms.float_layers:FLOAT_LAYERS",
    "output_ranges": "genq_export.quantization.algorithms.output_ranges:OUTPUT_RANGES",
    "gptq": "genq_export.quantization.algorithms.gptq:GPTQ",
    "reconstruction": "genq_export.quantization.algorithms.reconstruction:RECONSTRUCTION",
    "bias_correction": "genq_export.quantization.algorithms.bias_correction:BIAS_CORRECTION",
    "qat": "genq_export.quantization.algorithms.qat:QAT",
    "rounding_ties": "genq_export.quantization.algorithms.rounding_ties:ROUNDING_TIES",
}
