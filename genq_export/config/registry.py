"""Every part that a config chooses by name, and where it lives. One line adds a part of a kind.

Values are import paths, `package.module:name`, resolved by `genq_export.core.registry` when the part is used.
"""

# What a build is made for: rule, emitter, auditor (genq_export/targets/).
TARGETS: dict[str, str] = {
    "onnxruntime": "genq_export.targets.onnxruntime:ONNXRUNTIME",
    "tensorrt": "genq_export.targets.tensorrt:TENSORRT",
}

# What runs a file: sessions, codes, timing (genq_export/runtimes/).
RUNTIMES: dict[str, str] = {
    "onnxruntime": "genq_export.runtimes.onnxruntime:ONNXRUNTIME",
    "onnxruntime-unfused": "genq_export.runtimes.onnxruntime:ONNXRUNTIME_UNFUSED",
    "openvino": "genq_export.runtimes.openvino:OPENVINO",
    "openvino-as-written": "genq_export.runtimes.openvino:OPENVINO_AS_WRITTEN",
    "tensorrt": "genq_export.runtimes.tensorrt:TENSORRT",
}

# Where a network comes from (genq_export/models/).
DOORS: dict[str, str] = {}

# What makes calibration images (calibrate/sources/).
SOURCES: dict[str, str] = {}

# What tells good calibration images from others (calibrate/filters/).
FILTERS: dict[str, str] = {}

# What turns a prepared network into a good quantized one (genq_export/quantize/algorithms/).
METHODS: dict[str, str] = {}
