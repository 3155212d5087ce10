"""Sony's Model Compression Toolkit: its own data generation from BN statistics, then its GPTQ (learned rounding).

Bits are those of its target platform (IMX500): weights of 8 or 4 bits, activations of 8 with power-of-two thresholds.
The first and the last layer keep 8 bits. What it exports computes in float, so the network is judged in torch.
"""

# ruff: noqa: I001 - MCT imports torchvision, which a torch without CUDA needs help with first
import genq_export  # noqa: F401

import model_compression_toolkit as mct
import torch
from job import Job, run
from model_compression_toolkit.core.common.network_editors import NodeNameFilter, NodeTypeFilter
from torch import fx, nn

BATCH = 32
EDGE_BITS = 8  # of the first and the last layer


def quantize(job: Job):
    if job.activation_bits != 8:
        raise SystemExit(f"MCT's target holds activations of 8 bits, not {job.activation_bits}")
    module = job.module()
    images, epochs = generated(module, job), job.settings["epochs"]

    def representative():
        for batch in images:
            yield [batch]

    config = mct.core.CoreConfig(bit_width_config=inner_weights(module, job.weight_bits))
    quantized, _ = mct.gptq.pytorch_gradient_post_training_quantization(
        module, representative, core_config=config, gptq_config=mct.gptq.get_pytorch_gptq_config(n_epochs=epochs)
    )
    words = f"{job.settings['images']} generated images, {job.settings['steps']} steps; GPTQ, {epochs} epochs"
    return words, lambda: job.write_logits(lambda batch: quantized(batch).detach())


def generated(module: nn.Module, job: Job):
    """Images in the network's own preprocessing: MCT knows no other than torchvision's, so none of its own is used."""
    size, count = 32 if job.network.startswith("fashion") else 224, job.settings["images"]
    batch = min(BATCH, count)
    config = mct.data_generation.get_pytorch_data_generation_config(
        n_iter=job.settings["steps"], data_gen_batch_size=batch, extra_pixels=size // 7, image_clipping=False,
        image_normalization_type=mct.data_generation.ImageNormalizationType.NO_NORMALIZATION,
    )  # fmt: skip
    images = mct.data_generation.pytorch_data_generation_experimental(
        model=module, n_images=count, output_image_size=size, data_generation_config=config
    )
    return torch.cat([image.detach().reshape(-1, 3, size, size) for image in images]).split(batch)


def inner_weights(module: nn.Module, bits: int):
    """MCT's bit-width configuration: `bits` for every layer but the first and the last."""
    config = mct.core.BitWidthConfig()
    if bits == EDGE_BITS:
        return config
    config.set_manual_weights_bit_width([NodeTypeFilter(nn.Conv2d), NodeTypeFilter(nn.Linear)], bits, "weight")
    layers = [node.name for node in fx.symbolic_trace(module).graph.nodes if _has_weights(module, node)]
    for name in (layers[0], layers[-1]):
        folded = f"{name}_bn"  # what MCT calls a convolution that has taken up its BN
        config.set_manual_weights_bit_width(NodeNameFilter(name) | NodeNameFilter(folded), EDGE_BITS, "weight")
    return config


def _has_weights(module: nn.Module, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(module.get_submodule(str(node.target)), nn.Conv2d | nn.Linear)


if __name__ == "__main__":
    run(quantize)
