"""What of `benchmarks/peers.py` needs no peer: the crops, the plain layers, the tables."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def module(path: str) -> ModuleType:
    """A file below `benchmarks/`, which is no package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, BENCHMARKS / path)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # dataclasses look their own module up
    spec.loader.exec_module(found)
    return found


def peer_photographs() -> ModuleType:
    """The module, behind the one that it imports."""
    module("fetched_packages.py")
    return module("peer_photographs.py")


def test_no_photograph_both_calibrates_and_judges() -> None:
    photographs = peer_photographs()
    names = [Path(f"{package.name}/{name}") for package in photographs.PACKAGES for name in package.names]
    assert len(set(names)) == len(names)
    calibration, judging = photographs.split(names)
    assert not set(calibration) & set(judging)
    assert len(judging) >= 50 and 5 * len(judging) >= 200


def test_crops_are_square_parts_of_the_photograph(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    Image.linear_gradient("L").resize((50, 30)).save(path)
    crops = list(peer_photographs().crops([path], 5))
    assert [crop.size for crop in crops] == [(30, 30)] + 4 * [(21, 21)]
    assert {crop.mode for crop in crops} == {"RGB"}
    assert len(list(peer_photographs().crops([path], 2))) == 2


@pytest.mark.parametrize("size", [64, 71])
def test_plain_layers_compute_the_same_and_can_be_traced(size: int) -> None:
    import timm

    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0").eval()
    with pytest.raises(torch.fx.proxy.TraceError):
        torch.fx.symbolic_trace(network)
    image = torch.randn(2, 3, size, size)
    with torch.no_grad():
        expected = network(image)
        plain = module("peer_tools/job.py").of_plain_layers(network, torch.zeros(1, 3, size, size))
        torch.testing.assert_close(torch.fx.symbolic_trace(plain)(image), expected, rtol=1e-4, atol=1e-4)


def test_tables_show_results_and_failures() -> None:
    tables = module("peer_tables.py")
    same = {"network": "n", "settings": "{}", "source": "real", "images": 5}
    good = tables.Result(
        tool="A", bits="W8A8", words="fast", seconds=3.0, judged="exact sums", judging=100, sure=60, agreement=0.91,
        sure_agreement=0.95, kl=0.5, ms=2.0, float_ms=3.0, integer_layers=3, layers=4, bytes=1000, **same,
    )  # fmt: skip
    failed = tables.Result(tool="B", bits="W4A4", error="cannot trace", **same)
    text = tables.tables([good, failed])
    assert "| A: fast | 5 real | yes | 91.0 / 95.0 / 0.500 | – | – |" in text
    assert "| A: fast | W8A8 | real | 3 | 2.00 | 1.50× | 3 of 4 | 0.001 |" in text
    assert "* B W4A4, real images: `cannot trace`" in text
    assert good.key != failed.key


def glance() -> ModuleType:
    """The module, behind the one that it imports."""
    module("peer_tables.py")
    return module("peer_glance.py")


def test_a_tool_has_a_row_with_its_best_result() -> None:
    shown = glance()
    tables = sys.modules["peer_tables"]
    same = {
        "network": "n", "images": 5, "bits": "W8A8", "judged": "exact sums", "judging": 100, "seconds": 3.0, "ms": 2.0,
        "float_ms": 3.0, "integer_layers": 3, "layers": 4, "bytes": 1000, "codes": 1000, "measure": "mAP",
    }  # fmt: skip
    results = [
        tables.Result(
            tool="genq-export", settings="{}", source="synthetic", words="a", value=0.5, differing=0, own=0,
            reasons="equal", **same,
        ),
        tables.Result(
            tool="genq-export", settings="{}", source="real", words="b", value=0.6, differing=0, own=0, reasons="equal",
            **same,
        ),
        tables.Result(
            tool="NNCF", settings="{}", source="real", words="c", value=0.4, differing=30, own=2, reasons="bias (1)",
            **same,
        ),
        tables.Result(
            tool="NNCF", settings="x", source="real", words="d", value=0.3, differing=0, own=0, reasons="equal", **same
        ),
        tables.Result(
            network="n", tool="Quark", settings="{}", source="real", images=5, bits="W8A8", error="cannot read"
        ),
    ]  # fmt: skip
    text = shown.glance(results)
    ours, nncf, quark = text.splitlines()[4:7]
    assert ours == (
        "| genq-export: a; 5 synthetic images | no | 50.00 | not measured | not measured | 1.50× | 3 of 4 | 0.001 | 3"
        " | 100 % | 0 of 1,000 |"
    )
    assert nncf.startswith("| NNCF 3.") and ": c; 5 real images | yes | 40.00 |" in nncf
    assert "| 40.00 | – | – |" in nncf
    assert nncf.endswith("| 97.0000 % | 2 of 1,000: bias (1) |")
    assert quark.startswith("| Quark 0.") and "`cannot read`" in quark


def test_versions_are_those_that_the_requirements_pin() -> None:
    shown = glance()
    for package, file in shown.PINNED.values():
        assert f"\n{package}==" in "\n" + (BENCHMARKS / "peer_tools" / file).read_text()


def test_a_result_that_was_measured_again_takes_the_place_of_the_first() -> None:
    tables = module("peer_tables.py")
    same = {"network": "n", "tool": "A", "settings": "{}", "source": "real", "bits": "W8A8", "images": 5}
    first, other = tables.Result(ms=1.0, **same), tables.Result(**same | {"tool": "B"})
    again = tables.Result(ms=1.0, codes=10, differing=0, own=0, reasons="equal", **same)
    assert first.lacks_codes and not again.lacks_codes
    assert tables.latest([first, other, again]) == [again, other]
