"""Fused kernels: do the codes come right when one layer alone is kept from being fused?

A float tensor that is an output of the graph must be computed, so no runtime can hide it in an integer kernel. Integer
sums are exact: that a convolution or a product comes right without its kernel excuses nothing. Other operators
(softmax, sigmoid, an average) become kernels with tables or fixed-point factors of their own, which may round a code
otherwise, by one.
"""

from collections.abc import Mapping, Sequence

from genq_export.core.errors import BackendError
from runtime_tests.qdq_file.copies import with_outputs
from runtime_tests.qdq_file.experiments.scene import LEFT, Finding, Scene
from runtime_tests.qdq_file.graph import Quantizer
from runtime_tests.qdq_file.loading import Arrays
from runtime_tests.qdq_file.session import Opened


def fused_kernel(scene: Scene, suspects: Sequence[Quantizer]) -> Mapping[str, Finding]:
    """Run a copy whose float tensors in front of these quantizers are outputs."""
    tensors = [item.tensor for item in suspects]
    copy = with_outputs(scene.fed, (item.source for item in suspects))
    try:
        unfused = scene.runs(copy, scene.manner, tensors)
    except BackendError:
        return {}
    kernels = _kernels(scene)
    return {item.tensor: _finding(scene, item, unfused, kernels.get(item.tensor, "")) for item in suspects}


def _kernels(scene: Scene) -> Mapping[str, str]:
    if scene.manner.runtime != "onnxruntime":
        return {}
    with Opened(scene.fed, scene.manner, scene.limit) as opened:
        return opened.kernels()


def _finding(scene: Scene, item: Quantizer, unfused: Sequence[Arrays], kernel: str) -> Finding:
    before, left = scene.wrong(item), scene.left(item, unfused, scene.expected)
    named = f"the kernel {kernel}" if kernel and kernel != "QuantizeLinear" else "a fused kernel"
    evidence = f"with this {item.operator or 'input'} alone computed in float, {left:,} codes differ, not {before:,}"
    if left > LEFT * before or item.layers or _furthest(scene, item) > 1:
        return Finding(None, evidence)
    return Finding(f"{named} computes {item.operator} its own way and rounds codes otherwise, by one", evidence)


def _furthest(scene: Scene, item: Quantizer) -> int:
    """By how much codes differ at most."""
    pairs = zip(scene.expected, scene.found, strict=True)
    gaps = (
        abs(codes[item.tensor].astype(int) - right[item.tensor]).max(initial=0)
        for right, codes in pairs
        if item.tensor in codes and codes[item.tensor].shape == right[item.tensor].shape
    )
    return int(max(gaps, default=0))
