"""QAT beside the cascade: plain LSQ, several processes, bfloat16."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from genq_export.config.quantize import QuantizeConfig
from genq_export.core.distributed import Ranks
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.network.fake_quant import QuantizedLayer
from genq_export.network.interpreter import GraphNetwork
from genq_export.network.names import part_name
from genq_export.quantization.algorithms.qat import CodeLearner, EpochStore, train
from genq_export.quantization.placement import Placement

Prepared = Callable[..., tuple[GraphNetwork, Placement]]
Settings = Callable[..., QuantizeConfig]
NOTHING = EpochStore(lambda: None, lambda tensors: None)
QUIET = Progress(quiet=True)


def layer_of(gm: GraphNetwork, name: str) -> QuantizedLayer:
    layer = gm.get_submodule(part_name("layer", name))
    assert isinstance(layer, QuantizedLayer)
    return layer


def test_lsq_begins_at_the_rounded_network_and_its_gradients_are_lsq_s(prepared: Prepared) -> None:
    layer = layer_of(prepared("residual")[0], "dilated")
    learner = CodeLearner(layer, "lsq")
    assert torch.equal(learner.codes().to(torch.int8), layer.codes)
    (latent, log_scale) = torch.autograd.grad(learner().sum(), (learner.learned, learner.log_scale))
    scale = layer.weight_scale.view(-1, 1, 1, 1)
    ratio = layer.weight / scale
    inside = (ratio.round() >= layer.grid.lo) & (ratio.round() <= layer.grid.hi)
    slope = torch.where(inside, ratio.round() - ratio, ratio.round().clamp(layer.grid.lo, layer.grid.hi))
    assert torch.allclose(latent, inside.float())
    assert torch.allclose(log_scale, (slope * scale).sum((1, 2, 3)), atol=1e-4)


@pytest.mark.parametrize("change", [{"method": "lsq"}, {"autocast": True}])
def test_training_lowers_the_divergence(
    prepared: Prepared, settings: Settings, images: Tensor, change: dict[str, object]
) -> None:
    gm, _ = prepared("residual", bits=2)
    config = settings(2, qat={"epochs": 3, "weight_lr": 0.1, "scale_lr": 1e-2} | change, batch_size=4)
    history = train(gm, images.repeat(4, 1, 1, 1), config, 0, NOTHING, QUIET).held_out_kl
    assert min(history) < history[0]
    for layer in gm.modules():
        if isinstance(layer, QuantizedLayer):
            assert layer.codes.min() >= layer.grid.lo and layer.codes.max() <= layer.grid.hi


def test_a_batch_is_shared_out_whole_and_none_goes_empty() -> None:
    batch = torch.arange(7)
    shares = [Ranks(rank, 3).share(batch) for rank in range(3)]
    assert sorted(torch.cat(shares).tolist()) == batch.tolist()
    with pytest.raises(UserError, match=r"8 processes cannot share a batch of 7.*batch_size"):
        Ranks(0, 8).share(batch)


_CHILD = """
import sys
import torch
from safetensors.torch import save_file
from genq_export.config.build import QuantizeConfig
from genq_export.core.progress import Progress
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.quantization.algorithms.qat import EpochStore, train
from genq_export.core.collectives import Ranks
from genq_export.targets.rule import ONNXRUNTIME

rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
if world > 1:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
torch.manual_seed(0)
net = torch.nn.Sequential(
    torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(),
    torch.nn.Linear(128, 5),
).eval().requires_grad_(False)
images = torch.randn(40, 3, 8, 8)
config = QuantizeConfig(weight_bits=2, activation_bits=4, batch_size=8, qat={"epochs": 2, "weight_lr": 0.05})
gm, _ = prepare(net, (3, 8, 8), config, ONNXRUNTIME)
calibrate_ranges(gm, [images])
saves = []
store, ranks = EpochStore(lambda: None, saves.append), Ranks(rank, world)
history = train(gm, images, config, 0, store, Progress(quiet=True), ranks)
assert len(saves) == (2 if rank == 0 else 0)
save_file({**gm.state_dict(), "history": torch.tensor(history.held_out_kl)}, f"{folder}/{rank}of{world}.safetensors")
"""


@pytest.mark.slow
def test_two_processes_train_one_network_as_one_process_does(tmp_path: Path) -> None:
    def start(rank: int, world: int) -> subprocess.Popen[bytes]:
        arguments = [sys.executable, "-c", _CHILD, str(rank), str(world), str(tmp_path)]
        return subprocess.Popen(arguments, env=os.environ | {"OMP_NUM_THREADS": "1"})

    children = [start(0, 2), start(1, 2)]
    assert [child.wait(timeout=300) for child in children] == [0, 0]
    assert start(0, 1).wait(timeout=300) == 0
    first, second, alone = (load_file(tmp_path / f"{name}.safetensors") for name in ("0of2", "1of2", "0of1"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.allclose(first["history"], alone["history"], rtol=0.05)
    assert first["history"][-1] < first["history"][0]
