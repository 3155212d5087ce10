"""Block reconstruction: it helps, it repeats, it resumes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from genq_export.config.quantize import QuantizeConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.network.fake_quant import INPUT_NAME, ActivationQuantizer
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.algorithms.reconstruction import computes_in_bfloat16
from genq_export.quantization.blockwise import BlockStore, reconstruct
from genq_export.quantization.placement import Placement

Prepared = Callable[..., tuple[GraphNetwork, Placement]]
Settings = Callable[..., QuantizeConfig]


class Killed(Exception):
    """Stands for a process that ends in the middle."""


def store_in(kept: dict[int, dict[str, Tensor]], fail_at: int | None = None) -> BlockStore:
    def save(number: int, tensors: dict[str, Tensor]) -> None:
        if number == fail_at:
            raise Killed
        kept[number] = {name: tensor.clone() for name, tensor in tensors.items()}

    return BlockStore(kept.get, save)


def run(gm: GraphNetwork, images: Tensor, config: QuantizeConfig, seed: int = 0) -> dict[str, Tensor]:
    reconstruct(gm, images, config, seed, store_in({}), Progress(quiet=True))
    return dict(gm.state_dict())


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def scales(gm: GraphNetwork) -> dict[str, float]:
    return {part.name: float(part.scale) for part in gm.modules() if isinstance(part, ActivationQuantizer)}


def test_reconstruction_lowers_the_error_of_the_network(prepared: Prepared, settings: Settings, images: Tensor) -> None:
    gm, _ = prepared("residual", "onnxruntime", 2)
    config = settings(2, reconstruction={"iterations": 60})
    errors = reconstruct(gm, images, config, 0, store_in({}), Progress(quiet=True))
    assert sum(row.after for row in errors.values()) < 0.9 * sum(row.before for row in errors.values())


@pytest.mark.parametrize(
    "way",
    [{"loss": "plain"}, {"loss": "fisher"}, {"window": 3}, {"window": 3, "loss": "fisher", "precision": "bfloat16"}],
)
def test_other_ways_learn_as_well_and_repeat(
    prepared: Prepared, settings: Settings, images: Tensor, way: dict[str, object]
) -> None:
    if way.get("precision") and not computes_in_bfloat16(torch.device("cpu")):
        pytest.skip("this CPU has no bfloat16")
    config = settings(2, reconstruction={"iterations": 60, **way})
    (gm, _), (again, _) = prepared("residual", "onnxruntime", 2), prepared("residual", "onnxruntime", 2)
    errors = reconstruct(gm, images, config, 0, store_in({}), Progress(quiet=True))
    assert sum(row.after for row in errors.values()) < 0.9 * sum(row.before for row in errors.values())
    assert same(dict(gm.state_dict()), run(again, images, config))


def test_only_the_scale_of_the_input_is_not_learned(prepared: Prepared, settings: Settings, images: Tensor) -> None:
    gm, _ = prepared("residual", "onnxruntime", 2)
    before = scales(gm)
    run(gm, images, settings(2, reconstruction={"iterations": 60}, gptq=False))
    after = scales(gm)
    assert [name for name in before if after[name] == before[name]] == [INPUT_NAME]


@pytest.mark.parametrize("gptq", [True, False])
def test_a_block_that_learning_makes_worse_goes_back(
    prepared: Prepared, settings: Settings, images: Tensor, gptq: bool
) -> None:
    """Rates that throw every weight about; without steps the block keeps what it began with."""
    rates = {"iterations": 5, "rounding_lr": 100.0, "activation_lr": 10.0}
    wild = run(prepared("residual")[0], images, settings(reconstruction=rates, gptq=gptq))
    begun, _ = prepared("residual")
    if gptq:
        run(begun, images, settings(reconstruction={"iterations": 0}))
    assert same(wild, dict(begun.state_dict()))


def test_a_seed_decides_the_result(prepared: Prepared, settings: Settings, images: Tensor) -> None:
    first, again, other = (run(prepared("residual")[0], images, settings(), seed) for seed in (1, 1, 2))
    assert same(first, again)
    assert not same(first, other)


@pytest.mark.parametrize("fail_at", [0, 1])
def test_a_resumed_run_equals_an_uninterrupted_one(
    prepared: Prepared, settings: Settings, images: Tensor, fail_at: int
) -> None:
    whole = run(prepared("residual")[0], images, settings())
    kept: dict[int, dict[str, Tensor]] = {}
    with pytest.raises(Killed):
        reconstruct(prepared("residual")[0], images, settings(), 0, store_in(kept, fail_at), Progress(quiet=True))
    assert sorted(kept) == list(range(fail_at))
    gm, _ = prepared("residual")
    errors = reconstruct(gm, images, settings(), 0, store_in(kept), Progress(quiet=True))
    assert same(whole, dict(gm.state_dict()))
    assert errors == reconstruct(prepared("residual")[0], images, settings(), 0, store_in({}), Progress(quiet=True))


def test_fewer_images_than_a_batch_are_enough(prepared: Prepared, settings: Settings, images: Tensor) -> None:
    state = run(prepared("gated")[0], images[:3], settings(reconstruction={"iterations": 3}))
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state.values())


def test_images_that_are_not_finite_are_refused(prepared: Prepared, settings: Settings, images: Tensor) -> None:
    with pytest.raises(UserError, match="NaN or infinity"):
        run(prepared("residual")[0], images * torch.nan, settings())
