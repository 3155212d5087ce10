"""What readers see in the place of the names of targets and runtimes."""

TARGET_TITLES = {"onnxruntime": "ONNX Runtime", "tensorrt": "TensorRT"}
BACKEND_TITLES = {
    "float": "float32 network",
    "reference": "fake-quant reference",
    "oracle": "integer oracle",
    "onnxruntime": "ONNX Runtime",
    "onnxruntime-unfused": "ONNX Runtime, optimisations off",
    "openvino": "OpenVINO",
    "tensorrt": "TensorRT",
}
