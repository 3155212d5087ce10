"""Block caches: in memory or on disk, the same numbers; and the budget that decides."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from genq_export.config.build import BuildConfig
from genq_export.config.quantize import QuantizeConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization import activation_cache
from genq_export.quantization.activation_cache import (
    ActivationCache,
    ActivationsInMemory,
    ActivationsOnDisk,
    ActivationStore,
)
from genq_export.quantization.blockwise import BlockStore, reconstruct
from genq_export.quantization.placement import Placement

Prepared = Callable[..., tuple[GraphNetwork, Placement]]
Settings = Callable[..., QuantizeConfig]


@pytest.mark.parametrize("budget", [0, 10**6])
def test_what_is_computed_of_every_row_is_kept(tmp_path: Path, budget: int) -> None:
    values = torch.randn(70, 3, 5)
    kept = ActivationCache(budget, tmp_path).computed(ActivationsInMemory(values), lambda rows: rows.sum(-1) + 1)
    assert isinstance(kept, ActivationsOnDisk) == (budget == 0)
    assert torch.allclose(kept.read(0, 70), values.sum(-1) + 1)


def test_rows_come_back_as_they_went_in(tmp_path: Path) -> None:
    values = torch.randn(10, 3, 5)
    for kept in (ActivationsOnDisk((10, 3, 5), tmp_path), ActivationsInMemory(torch.empty(10, 3, 5))):
        for start in (4, 0, 8):
            kept.write(start, values[start : start + 4])
        assert len(kept) == 10
        assert torch.equal(kept.read(2, 7), values[2:7])
        chosen = torch.tensor([9, 0, 9, 3])
        found, places = kept.gather(chosen)
        assert torch.equal(found[places], values[chosen])
        assert torch.equal(torch.stack(kept.parts(chosen, None)), values[chosen])
        parts = kept.parts(chosen, [lambda row: row[:, 1:3], lambda row: row, lambda row: row[2:], lambda row: row[:1]])
        assert [part.shape[0] for part in parts] == [3, 3, 1, 1]
        assert torch.equal(parts[0], values[9][:, 1:3]) and torch.equal(parts[2], values[9][2:])
        kept.close()
    assert list(tmp_path.iterdir()) == []


def test_a_cache_fills_memory_first_and_takes_it_back(tmp_path: Path) -> None:
    cache = ActivationCache(budget=1000, folder=tmp_path / "cache")

    def on_disk(kept: ActivationStore) -> bool:
        return isinstance(kept, ActivationsOnDisk)

    first, second = cache.rows((2, 100)), cache.rows((2, 100))
    assert not on_disk(first) and on_disk(second)
    cache.release(second)
    assert on_disk(cache.rows((1, 100)))
    cache.release(first)
    assert not on_disk(cache.rows((1, 250)))


@pytest.mark.parametrize("budget", [0, 300_000])
def test_the_disk_changes_no_bit(
    prepared: Prepared, settings: Settings, images: Tensor, tmp_path: Path, budget: int
) -> None:
    store = BlockStore(lambda number: None, lambda number, state: None)
    results = []
    for cache in (None, ActivationCache(budget, tmp_path)):
        gm, _ = prepared("residual")
        errors = reconstruct(gm, images, settings(4), 0, store, Progress(quiet=True), cache)
        results.append((errors, gm.state_dict()))
    assert results[0][0] == results[1][0]
    assert all(torch.equal(tensor, results[1][1][name]) for name, tensor in results[0][1].items())


def test_a_full_disk_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(activation_cache.os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"no room for 4\.0 GB .*No space left.*--memory-budget"):
        ActivationsOnDisk((1000, 1000, 1000), tmp_path)


def test_the_budget_is_read_with_its_unit() -> None:
    assert BuildConfig.for_model("resnet50", memory_budget="4GB").quantize.memory_budget == 4 * 10**9
    with pytest.raises(UserError, match=r"quantize\.memory_budget"):
        BuildConfig.for_model("resnet50", memory_budget="lots")
