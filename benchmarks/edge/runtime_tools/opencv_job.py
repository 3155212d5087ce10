"""OpenCV's dnn module, its classic engine."""

import cv2
from job import Run, main


def open_model(path: str) -> tuple[Run, int | None, int | None]:
    net = cv2.dnn.readNetFromONNX(path, cv2.dnn.ENGINE_CLASSIC)
    kinds = [net.getLayer(number).type for number in range(1, len(net.getLayerNames()) + 1)]
    integer = sum(kind in ("ConvolutionInt8", "InnerProductInt8", "Conv2Int8") for kind in kinds)
    layers = integer + sum(kind in ("Convolution", "InnerProduct", "Gemm", "MatMul", "Conv2") for kind in kinds)

    def run(image):  # type: ignore[no-untyped-def]
        net.setInput(image)
        return net.forward().copy()

    return run, integer, layers


main(cv2.__version__, open_model)
