"""LoRAs beside a base: fused, told by content and weight, or refused with one line."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from calibrate import preflight
from genq_export.core.errors import UserError
from tests.calibrate.pipelines import config_of, drawn, opened


def lora_file(path: Path, pipeline: Any, kind: str = "unet", width: int = 0) -> tuple[str, torch.Tensor]:
    """Write one that changes one layer; returns the layer's name and the change."""
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q"
    weight = pipeline.unet.get_submodule(layer).weight
    first, second = torch.randn(2, weight.shape[1] + width), torch.randn(weight.shape[0], 2)
    save_file({f"{kind}.{layer}.lora_A.weight": first, f"{kind}.{layer}.lora_B.weight": second}, path)
    return layer, second @ first


needs_peft = pytest.mark.skipif(find_spec("peft") is None, reason="peft is not installed (extra lora)")


@needs_peft
@pytest.mark.parametrize(("behind", "weight"), [("", 1.0), (":0.5", 0.5), (":-1", -1.0)])
def test_a_lora_is_fused(behind: str, weight: float, stable: Path, tmp_path: Path) -> None:
    plain = opened(stable)
    layer, change = lora_file(tmp_path / "l.safetensors", plain.pipeline)
    given = (f"{tmp_path / 'l.safetensors'}{behind}",)
    assert preflight.problems(config_of(stable, lora=given), tmp_path) == []
    with_lora = opened(stable, lora=given)
    before = plain.pipeline.unet.get_submodule(layer).weight
    after = with_lora.pipeline.unet.get_submodule(layer).weight
    assert torch.allclose(after, before + weight * change, atol=1e-5) and not torch.equal(after, before)
    assert not np.array_equal(drawn(with_lora), drawn(plain))
    assert preflight.identity(config_of(stable, lora=given)) != preflight.identity(config_of(stable))
    assert with_lora.identity != plain.identity and "l.safetensors at" in with_lora.settings["lora"]


@needs_peft
@pytest.mark.parametrize(("kind", "width"), [("unet", 3), ("transformer", 0)])
def test_a_lora_of_another_model_is_refused(kind: str, width: int, stable: Path, tmp_path: Path) -> None:
    lora_file(tmp_path / "l.safetensors", opened(stable).pipeline, kind, width)
    with pytest.raises(UserError, match=r"LoRA .* does not fit the generator \(StableDiffusionPipeline\)") as error:
        opened(stable, lora=(str(tmp_path / "l.safetensors"),))
    assert "\n" not in str(error.value)


def test_identity_follows_a_loras_content_and_weight(stable: Path, tmp_path: Path) -> None:
    file = tmp_path / "l.safetensors"
    found = set()
    for content in (b"1", b"2"):
        file.write_bytes(content)
        found |= {preflight.identity(config_of(stable, lora=(f"{file}{weight}",))) for weight in ("", ":1", ":0.5")}
    assert len(found) == 4, "a weight of 1 is that of none"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("none.safetensors", "neither a file nor a hub name"),
        ("l.pt", "pickle"),
        ("empty", "holds none"),
        ("two", "holds 2: a.safetensors, b.safetensors"),
        ("owner/name", "hub cannot be reached"),
    ],
)
def test_what_is_no_lora(given: str, words: str, stable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genq_export.models.hub.hub_reachable", lambda: False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "l.pt").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (tmp_path / "two").mkdir()
    for name in ("a", "b"):
        (tmp_path / "two" / f"{name}.safetensors").write_bytes(b"")
    found = preflight.problems(config_of(stable, lora=(given,)))
    assert any(words in problem and given in problem for problem in found)
    assert any("pip install 'genq-export[lora]'" in problem for problem in found) == (find_spec("peft") is None)
