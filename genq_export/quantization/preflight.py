"""What the quantize stage would refuse about a network, asked before the images for it are made."""

import torch

from genq_export.config.build import BuildConfig
from genq_export.core.errors import refuse
from genq_export.models.loaded import LoadedModel
from genq_export.quantization.method import methods_of
from genq_export.quantization.prepare import captured, check_placeable
from genq_export.targets import rule_for


def check_network(model: LoadedModel, config: BuildConfig) -> None:
    """Raise UserError where the network does not trace, has nothing to quantize, or lacks what the config asks for.

    What only images show (numbers that are not finite, ranges) stays to be found by the stage itself.
    """
    floats = captured(model.module, model.input_size)
    check_placeable(floats, model.module, config.quantize, rule_for(config.target))
    device = torch.device(config.on_chosen_device().device)
    methods = methods_of(config.quantize)
    refuse(problem for method in methods for problem in method.problems(floats.graph, config.quantize, device))
