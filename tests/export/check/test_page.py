"""The page of the check folder in headless Chromium: it passes on the file that was built, and names what is wrong."""

import http.server
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Thread

import onnx
import pytest

from tests.export.check.damage import Damage, flip_weight, remove_clip
from tests.export.check.test_checkers import cut_data, cut_golden, of_another_build, run_check
from tests.serve.test_browser import dist, opened

__all__ = ["dist"]  # a fixture


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None: ...


@pytest.fixture
def page(build: Path, dist: Path) -> Iterator[str]:
    """The address of the page, with the runtime beside it."""
    (build / "check" / "ort").mkdir()
    for path in (*dist.glob("ort.wasm.min.mjs"), *dist.glob("ort-wasm-simd-threaded.[mw]*")):
        shutil.copy(path, build / "check" / "ort")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(build))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/check/index.html"
        server.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("damage", [None, flip_weight, remove_clip, of_another_build])
def test_the_page_says_the_same_as_check_py(build: Path, page: str, damage: Damage | None) -> None:
    if damage is of_another_build:
        of_another_build(build / "check")
    elif damage is not None:
        model = onnx.load(build / "model.onnx")
        damage(model)
        onnx.save(model, build / "model.onnx")
    _, expected, _ = run_check(build)
    shown = opened(page, steps=["start"])
    assert shown["verdict"].startswith("No" if expected["verdict"] == "other codes" else "Yes")
    if damage is not None:
        words = f"The first is {expected['first_unlike']}, by {expected['first_unlike_by']}."
        assert shown["verdict"].endswith(words)


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [cut_data, cut_golden])
def test_golden_data_that_was_cut_is_told(build: Path, page: str, spoil: object) -> None:
    spoil(build / "check")  # type: ignore[operator]
    assert opened(page, steps=["start"])["verdict"].startswith("golden.json or golden.bin is damaged")
