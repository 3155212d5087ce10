"""Detectors of transformers with random weights: what depends on the number of images alone is a constant of each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from export.fold import fold
from export.onnx_qdq import export_onnx
from genq_export.config.build import BuildConfig
from genq_export.models.transformers_outputs import TransformersOutputs
from genq_export.models.transformers_tasks import kind_of
from genq_export.network.hooks import record_codes
from genq_export.network.outputs import by_name
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.runtimes.onnxruntime import ONNXRUNTIME
from genq_export.targets import rule_for

SIZE = (3, 64, 64)


def detr() -> Any:
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    backbone = ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", out_features=["stage2"]
    )
    sizes = dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "d_model"), 32)
    sizes |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_layers": 1, "decoder_layers": 1}
    own = {"use_timm_backbone": False, "backbone": None, "num_queries": 7, "num_labels": 5}
    return DetrForObjectDetection(DetrConfig(backbone_config=backbone, attn_implementation="eager", **sizes, **own))


def rt_detr() -> Any:
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

    stages = ["stage2", "stage3", "stage4"]
    backbone = RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 16, 32], depths=[1] * 4, layer_type="basic", out_features=stages
    )
    sizes = dict.fromkeys(("encoder_hidden_dim", "encoder_ffn_dim", "d_model", "decoder_ffn_dim"), 32)
    sizes |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "decoder_layers": 1, "decoder_n_points": 2}
    lists = {"encoder_in_channels": [16, 16, 32], "decoder_in_channels": [32] * 3}
    own = {"num_queries": 9, "num_labels": 5, "num_feature_levels": 3}
    config = RTDetrConfig(backbone_config=backbone, attn_implementation="eager", **sizes, **lists, **own)
    return RTDetrForObjectDetection(config)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "judged"), [(detr, ""), (rt_detr, "network.model.backbone")])
def test_a_detector_comes_through(make: Callable[[], Any], judged: str, tmp_path: Path) -> None:
    """judged: codes by name; RT-DETR picks queries by score, and random ones are so near that a tie picks others."""
    torch.manual_seed(0)
    network, path = make().eval().requires_grad_(False), tmp_path / "model.onnx"
    kind = kind_of("DetrForObjectDetection")
    assert kind is not None
    module: nn.Module = TransformersOutputs(network, kind, network.config)
    config, rule = BuildConfig.for_model("resnet18", bits=8).quantize, rule_for("onnxruntime")
    images = torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(1))
    reference, _ = prepare(module, SIZE, config, rule)
    calibrate_ranges(reference, [images])
    integer_model = fold(reference)
    export_onnx(integer_model, SIZE, rule, path, False)
    session = ONNXRUNTIME.open(path, 1)
    for count in (1, 3):
        answer, of_reference = record_codes(reference, images[:count])
        _, of_oracle = record_codes(integer_model, images[:count])
        outputs, of_file = session.codes(images[:count].numpy())
        assert {name: part.shape for name, part in by_name(answer).items()} == {
            name: part.shape for name, part in outputs.items()
        }
        equal = total = 0
        for name, codes in of_oracle.items():
            assert torch.equal(of_reference[name], codes), name
            if not name.startswith(judged):
                continue
            found = torch.from_numpy(of_file[name].astype("int32"))
            equal += max(int((found - shift == codes).sum()) for shift in (0, 128))
            total += codes.numel()
        assert equal >= 0.999 * total
