"""Families that come through to integers, by the command of docs/families.md."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
THROUGH = (
    "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "ecaresnet26t", "efficientvit_b0", "efficientvim_m1",
    "xcit_nano_12_p16_224", "vit_base_patch16_siglip_224", "eva02_tiny_patch14_224", "test_maxvit", "convit_tiny",
    "coat_lite_tiny", "resnetv2_50x1_bit", "test_nfnet", "convnext_zepto_rms", "botnet26t_256", "mixnet_s",
    "skresnet18", "resnest14d", "ghostnet_050", "test_vit", "mvitv2_tiny", "gcvit_xxtiny", "efficientnet_cc_b0_4e",
    "lowformer_b0", "hgnetv2_b0", "hrnet_w18_small", "repvgg_a0", "vit_tiny_r_s16_p8_224",
)  # fmt: skip
QUICK = "test_vit"


@pytest.mark.parametrize(
    "name", [QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in THROUGH if name != QUICK)]
)
def test_a_family_comes_through_in_integers(name: str, tmp_path: Path) -> None:
    results = tmp_path / "families.jsonl"
    command = [sys.executable, ROOT / "benchmarks" / "families.py", "-o", results, "--only", name]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    row = json.loads(results.read_text())
    assert row["reached"] == "codes", row["reason"]
    assert row["integer"] == row["layers"] > 0
    assert row["largest_block"] <= 20


def test_the_list_names_each_network_once() -> None:
    command = [sys.executable, ROOT / "benchmarks" / "families.py", "--list"]
    names = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.split()
    assert len(names) == len(set(names)) > 100 and set(THROUGH) <= set(names)
