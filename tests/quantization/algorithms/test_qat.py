"""QAT: never worse than the PTQ solution on held-out images, resumable to the bit, codes stay on the grid."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.config.model import ModelConfig
from genq_export.config.quantize import QuantizeConfig
from genq_export.core.progress import Progress
from genq_export.models.source import load_model
from genq_export.network.fake_quant import QuantizedLayer
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.activation_cache import ActivationsOnDisk
from genq_export.quantization.algorithms.qat import ALONE, EpochStore, Trainer, train
from genq_export.quantization.blocks import split
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.targets import rule_for
from genq_export.tasks.losses import kl_divergence

QUIET = Progress(quiet=True)
NOTHING = EpochStore(lambda: None, lambda tensors: None)


@pytest.fixture(scope="module")
def settings() -> QuantizeConfig:
    fast = ["quantize.qat.weight_lr=0.02", "quantize.qat.scale_lr=1e-3"]  # for the few steps that so few images give
    config = BuildConfig.for_model("fashion_resnet", weight_bits=3, activation_bits=4, qat_epochs=3, settings=fast)
    return config.quantize


def changed(settings: QuantizeConfig, **qat: float) -> QuantizeConfig:
    return settings.model_copy(update={"qat": settings.qat.model_copy(update=qat)})


@pytest.fixture(scope="module")
def images() -> Tensor:
    pixels, _ = zoo.few_shot_set()
    return load_model(ModelConfig(name="fashion_resnet")).normalize(torch.from_numpy(pixels[::2]))


@pytest.fixture(scope="module")
def ranged(settings: QuantizeConfig, images: Tensor) -> GraphNetwork:
    model = load_model(ModelConfig(name="fashion_resnet"))
    gm, _ = prepare(model.module, model.input_size, settings, rule_for("onnxruntime"))
    calibrate_ranges(gm, [images])
    return gm


def test_the_epoch_kept_is_the_best_on_held_out_images(
    ranged: GraphNetwork, settings: QuantizeConfig, images: Tensor
) -> None:
    gm = deepcopy(ranged)
    history = train(gm, images, settings, 0, NOTHING, QUIET).held_out_kl
    assert len(history) == 4 and min(history) < history[0]
    assert any(
        not torch.equal(old.codes, new.codes)
        for old, new in zip(ranged.modules(), gm.modules(), strict=True)
        if isinstance(old, QuantizedLayer) and isinstance(new, QuantizedLayer)
    )


def test_the_first_blocks_stay_as_they_were_unless_asked_otherwise(
    ranged: GraphNetwork, settings: QuantizeConfig, images: Tensor
) -> None:
    wild = changed(settings, weight_lr=1.0, epochs=1)
    for config, frozen in ((wild, 4), (changed(wild, frozen_share=0.0), 0)):
        gm = deepcopy(ranged)
        learner = Trainer(gm, config)
        learner.attach()
        learner.step(images[:4], torch.zeros(4, 10), 10, 1.0, ALONE)
        learner.commit_average()
        same = [
            all(torch.equal(a.codes, b.codes) for a, b in zip(old.layers(), new.layers(), strict=True))
            for old, new in zip(split(ranged), split(gm), strict=True)
        ]
        assert same == [True] * frozen + [False] * (len(same) - frozen)


def test_codes_stay_on_the_grid_and_scales_positive_at_a_wild_rate(
    ranged: GraphNetwork, settings: QuantizeConfig, images: Tensor
) -> None:
    gm = deepcopy(ranged)
    wild = changed(settings, weight_lr=5.0, scale_lr=0.5, epochs=1)
    train(gm, images[:40], wild, 0, NOTHING, QUIET)
    for layer in gm.modules():
        if isinstance(layer, QuantizedLayer):
            assert layer.codes.min() >= layer.grid.lo and layer.codes.max() <= layer.grid.hi
            assert (layer.weight_scale > 0).all()


def test_a_wild_rate_cannot_make_it_worse(ranged: GraphNetwork, settings: QuantizeConfig, images: Tensor) -> None:
    gm = deepcopy(ranged)
    wild = changed(settings, weight_lr=50.0, scale_lr=1.0, epochs=1)
    train(gm, images[:40], wild, 0, NOTHING, QUIET)
    with torch.no_grad():
        assert torch.equal(gm(images[:8]), ranged(images[:8]))


def test_a_killed_run_ends_with_the_same_bytes(ranged: GraphNetwork, settings: QuantizeConfig, images: Tensor) -> None:
    whole, saved = deepcopy(ranged), {}
    train(whole, images[:40], settings, 0, NOTHING, QUIET)

    def save_and_die(tensors: dict[str, Tensor]) -> None:
        saved.update({name: tensor.clone() for name, tensor in tensors.items()})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(deepcopy(ranged), images[:40], settings, 0, EpochStore(lambda: None, save_and_die), QUIET)
    resumed = deepcopy(ranged)
    train(resumed, images[:40], settings, 0, EpochStore(lambda: saved, lambda tensors: None), QUIET)
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


def test_images_read_from_disk_train_to_the_same_bytes(
    ranged: GraphNetwork, settings: QuantizeConfig, images: Tensor, tmp_path: Path
) -> None:
    in_memory, on_disk = deepcopy(ranged), deepcopy(ranged)
    few = images[:40].contiguous()  # as rows of a file are: another layout in memory takes other kernels
    once = changed(settings, epochs=1)
    rows = ActivationsOnDisk(tuple(few.shape), tmp_path)
    rows.write(0, few)
    assert train(in_memory, few, once, 0, NOTHING, QUIET) == train(on_disk, rows, once, 0, NOTHING, QUIET)
    assert all(
        torch.equal(a, b) for a, b in zip(in_memory.state_dict().values(), on_disk.state_dict().values(), strict=True)
    )


def test_the_loss_is_zero_for_equal_logits_and_positive_otherwise() -> None:
    logits = torch.randn(8, 10, generator=torch.Generator().manual_seed(0))
    assert kl_divergence(logits, logits).abs() < 1e-6
    assert kl_divergence(logits.flip(1), logits) > 0.1
