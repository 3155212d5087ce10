"""brevitas' PTQ flow, as its ImageNet example composes it, with rounding learned layer by layer or by GPTQ.

Graph equalisation, per-channel weights with scales of least squared error, asymmetric activations (99.999th percentile,
the example's), first and last layer at 8 bits; below 8 bits learned rounding (hard sigmoid, the example's rates), or
GPTQ with the example's defaults; bias correction.
"""

from argparse import Namespace
from functools import partial

import torch
from brevitas.export import export_onnx_qcdq
from brevitas.export.inference import quant_inference_mode
from brevitas.graph.quantize import layerwise_quantize, preprocess_for_quantize
from brevitas.inject import value
from brevitas_examples.common.learned_round.learned_round_trainer import LearnedRoundTrainer, get_blocks
from brevitas_examples.imagenet_classification.ptq.learned_round_utils import (
    CacheVision,
    is_layer,
    parse_args_to_dataclass,
    vision_block_forward,
    vision_forward,
)
from brevitas_examples.imagenet_classification.ptq.ptq_common import (
    apply_bias_correction,
    apply_gptq,
    calibrate,
    create_quant_maps,
)
from job import Job, run
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

EDGE_BITS = 8  # of the first and the last layer, as in every other tool here


def quantize(job: Job):
    images = torch.from_numpy(job.calibration)
    loader = DataLoader(TensorDataset(images, torch.zeros(len(images))), batch_size=32)
    module, words = preprocessed(job)
    module = layerwise_quantize(module, compute_layer_map=layer_map(module, job))
    with torch.no_grad():
        module(images[:1])
    calibrate(loader, module)
    if job.weight_bits < 8 and "iterations" not in job.settings:
        apply_gptq(loader, module)
        words += ", GPTQ"
    elif job.weight_bits < 8:
        learn_rounding(module, loader, job.settings["iterations"])
        words += f", learned rounding, {job.settings['iterations']} steps a layer"
    apply_bias_correction(loader, module)
    module.eval()
    return words + ", bias correction", lambda: finish(job, module, images[:1])


def preprocessed(job: Job):
    """BN folded and the graph equalised; a network that brevitas cannot trace stays as it is.

    ReLU6 stays ReLU6: with ReLU in its place, brevitas' default, the float EfficientNet-Lite0 answers 7 of 24
    photographs as before.
    """
    try:
        graph = preprocess_for_quantize(job.module(), relu6_to_relu=False, equalize_iters=20, equalize_merge_bias=True)
        return graph, "graph equalisation"
    except Exception as error:
        print(f"not traced: {error}")
        return job.module(), "not traced, so no equalisation"


def layer_map(module: nn.Module, job: Job):
    """brevitas' quantized layers, with bits by place."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    edges = [id(layers[0].weight), id(layers[-1].weight)]

    def bits(of: int):
        @value
        def chosen(module):
            return EDGE_BITS if id(module.weight) in edges else of

        return chosen

    _, layerwise, _, _ = create_quant_maps(
        dtype=torch.float32, bias_bit_width=32, weight_bit_width=bits(job.weight_bits), weight_param_method="mse",
        weight_scale_type="float_scale", weight_quant_type="sym", weight_quant_granularity="per_channel",
        weight_narrow_range=False, weight_quant_format="int", act_quant_format="int",
        act_bit_width=bits(job.activation_bits), act_scale_type="float_scale", act_scale_computation_type="static",
        act_param_method="stats", act_quant_type="asym", act_quant_granularity="per_tensor",
        act_quant_percentile=99.999,
    )  # fmt: skip
    return layerwise


def learn_rounding(module: nn.Module, loader: DataLoader, steps: int) -> None:
    """The example's layer-wise learned rounding in float32: its half precision is for GPUs."""
    arguments = Namespace(
        learned_round="hard_sigmoid", learned_round_lr=1e-3, learned_round_lr_scheduler=None,
        learned_round_loss="regularised_mse", learned_round_batch_size=32, learned_round_iters=steps,
    )  # fmt: skip
    config = parse_args_to_dataclass(arguments)
    config.training_args.use_amp = False
    LearnedRoundTrainer(config=config).train(
        model=module, model_forward=vision_forward, block_forward=vision_block_forward, data_loader=loader,
        cache=CacheVision(), get_blocks_fn=partial(get_blocks, block_check_fn=is_layer), keep_gpu=True,
    )  # fmt: skip


def finish(job: Job, module: nn.Module, image: torch.Tensor) -> None:
    """Answers of the fake-quantized network, and its file where brevitas can write one."""
    with torch.no_grad(), quant_inference_mode(module):
        module(image)
        job.write_logits(module)
    try:
        export_onnx_qcdq(module, image, export_path=str(job.folder / "qcdq.onnx"), opset_version=17)
    except Exception as error:
        print(f"no ONNX file: {error}")


if __name__ == "__main__":
    run(quantize)
