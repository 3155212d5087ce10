"""Every part that a config chooses by name, and where it lives. One line adds a part of a kind.

Values are import paths, `package.module:name`, resolved by `genq_export.core.registry` when the part is used.
"""

# What a build is made for: rule, emitter, auditor (genq_export/targets/).
TARGETS: dict[str, str] = {
    "onnxruntime": "genq_export.targets.onnxruntime:ONNXRUNTIME",
    "tensorrt": "genq_export.targets.tensorrt:TENSORRT",
}

# What runs a file: sessions, codes, timing (genq_export/runtimes/).
RUNTIMES: dict[str, str] = {}

# Where a network comes from (genq_export/models/).
DOORS: dict[str, str] = {}

# What makes calibration images (calibrate/sources/).
SOURCES: dict[str, str] = {}

# What tells good calibration images from others (calibrate/filters/).
FILTERS: dict[str, str] = {}

# What turns a prepared network into a good quantized one (genq_export/quantize/algorithms/).
METHODS: dict[str, str] = {
    "layernorm_equalization": "genq_export.quantize.algorithms.layernorm_equalization:LAYERNORM_EQUALIZATION",
    "mixed_precision": "genq_export.quantize.algorithms.mixed_precision:MIXED_PRECISION",
    "gptq": "genq_export.quantize.algorithms.gptq:GPTQ",
    "reconstruction": "genq_export.quantize.algorithms.reconstruction:RECONSTRUCTION",
    "bias_correction": "genq_export.quantize.algorithms.bias_correction:BIAS_CORRECTION",
    "qat": "genq_export.quantize.algorithms.qat:QAT",
    "rounding_ties": "genq_export.quantize.algorithms.rounding_ties:ROUNDING_TIES",
}
