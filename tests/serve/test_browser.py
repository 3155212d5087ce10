"""The page in headless Chromium: on this machine, and as a phone on plain http sees it.

Needs Debian's chromium, node, and `npm install onnxruntime-web playwright-core` in the current folder or above it.
"""

import http.server
import json
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from genq_export.core.workspace import Workspace
from genq_export.serve import onnxruntime_web
from genq_export.serve.server import Server
from genq_export.serve.service import page_files
from runtime_tests.verify.verify_file import read_verification
from tests.serve.builds import make_build
from tests.serve.conftest import PHONE, Serve

PROGRAM = Path(__file__).with_name("browser.mjs")
RESOLVE = "console.log(require('path').dirname(require.resolve('onnxruntime-web')));require.resolve('playwright-core')"
AS_A_PHONE = f"--host-resolver-rules=MAP {PHONE} 127.0.0.1"

Browser = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def dist() -> Path:
    """The folder of onnxruntime-web."""
    if not (shutil.which("node") and Path("/usr/bin/chromium").is_file()):
        pytest.skip("node or Chromium is not installed")
    found = subprocess.run(["node", "-e", RESOLVE], capture_output=True, text=True)
    if found.returncode:
        pytest.skip("onnxruntime-web or playwright-core is not installed")
    return Path(found.stdout.strip())


def opened(link: str, **options: Any) -> dict[str, Any]:
    """What the page shows in the end."""
    told = json.dumps({"link": link, **options})
    done = subprocess.run(["node", PROGRAM, told], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def as_a_phone(link: str) -> str:
    return link.replace("127.0.0.1", PHONE)


@pytest.fixture(scope="module", params=["fashion_resnet", "fashion_mobilenet", "fashion_vit"])
def network(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=[8, 4])
def zoo_build(request: pytest.FixtureRequest, network: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_build(tmp_path_factory.mktemp("zoo"), network, request.param)


@pytest.mark.slow
@pytest.mark.parametrize("phone", [False, True])
def test_the_codes_in_a_browser_are_the_integer_models(
    module_serve: Serve, zoo_build: Path, dist: Path, network: str, phone: bool
) -> None:
    _, links = module_serve(zoo_build, dist)
    link, flags = (as_a_phone(links[-1]), [AS_A_PHONE]) if phone else (links[-1], [])
    shown = opened(link, flags=flags)
    assert shown["secure"] is shown["isolated"] is not phone
    assert shown["width"] <= 390
    assert [line for line in shown["said"] if "Opener-Policy" not in line] == []  # of plain http, where it is ignored
    result = read_verification(Workspace.existing(zoo_build)).devices[-1]
    assert result.compared_by == "host" and result.latency_ms["deployed"].median > 0
    assert "HeadlessChrome" in result.device
    assert not phone or result.threads == 1
    if network == "fashion_vit":
        assert result.verdict != "other codes" and result.same_answers == result.images
        assert shown["verdict"].startswith("Yes")
    else:
        assert shown["verdict"] == "Yes: the codes of every quantizer are the integer model's."
        assert result.verdict == "same codes" and result.outputs_equal


@pytest.fixture
def served(serve: Serve, build: Path, dist: Path) -> tuple[Server, list[str]]:
    return serve(build, dist)


@pytest.mark.slow
def test_a_picture_gets_the_class_that_it_is_of(served: tuple[Server, list[str]], pristine: Path) -> None:
    picture = pristine.parent / "3.png"
    shown = opened(served[1][-1], steps=["check", "picture", "reload", "check"], picture=str(picture))
    assert shown["verdict"].startswith("Yes") and not shown["address"].partition("#")[2]
    shown = opened(served[1][-1], steps=["picture"], picture=str(picture))
    assert shown["answers"].splitlines()[0].startswith("t-shirt")
    shown = opened(served[1][-1], steps=["picture"], picture=str(PROGRAM))
    assert shown["picture"] == "This browser cannot read browser.mjs as a picture: take a JPEG or PNG"


DRAWN = """
  import('./outputs.mjs').then(({ draw }) => {
    const mask = new Float32Array(2 * 12).fill(0).map((_, i) => (i < 12 ? 0.5 : i % 4 ? 0 : 1));
    draw(document.getElementById('answers'), [
      { name: 'mask', task: 'segmentation', names: ['ground', 'shoe'] },
      { name: 'depth', task: 'dense', names: [] },
      { name: 'boxes', task: 'detection', names: [] },
    ], { mask: { data: mask, dims: [1, 2, 3, 4] }, depth: { data: new Float32Array([1, 2, 3, 4]), dims: [1, 1, 2, 2] },
      boxes: { data: new Float32Array([-1, 7]), dims: [1, 2] } });
  })
"""


@pytest.mark.slow
def test_masks_maps_and_numbers_are_drawn(served: tuple[Server, list[str]]) -> None:
    shown = opened(served[1][-1], steps=[], script=DRAWN)
    assert shown["said"] == []
    words = ["ground\t75.0 %", "shoe\t25.0 %", "depth", "black\t1.000", "white\t4.000", "boxes", "shape\t1 × 2"]
    assert [word for word in words if word not in shown["answers"]] == []


BOXES = """
  import('./outputs.mjs').then(({ draw }) => {
    const preview = Object.assign(document.getElementById('preview'), { width: 32, height: 32 });
    const layout = { boxes: 'boxes', scores: 'scores', boxes_last: false, scores_last: false, together: false };
    const boxes = { data: new Float32Array([2, 2, 20, 20, 3, 3, 20, 20, 22, 22, 30, 30]), dims: [1, 3, 4] };
    const scores = { data: new Float32Array([0.9, 0.1, 0.8, 0.1, 0.2, 0.7]), dims: [1, 3, 2] };
    draw(document.getElementById('answers'), [{ names: ['shoe', 'bag'] }], { boxes, scores }, layout, preview);
    const canvas = document.querySelector('#answers canvas');
    const red = canvas.getContext('2d').getImageData(2, 10, 1, 1).data;
    console.log(`edge ${red[3]}, inside ${canvas.getContext('2d').getImageData(10, 10, 1, 1).data[3]}`);
  })
"""


@pytest.mark.slow
def test_boxes_are_drawn_over_the_picture(served: tuple[Server, list[str]]) -> None:
    shown = opened(served[1][-1], steps=[], script=BOXES)
    assert shown["answers"] == "shoe\t90.0 %\nbag\t70.0 %", "what overlaps a better box of its class is left out"
    (said,) = (line for line in shown["said"] if line.startswith("edge"))
    edge, inside = (int(part.split()[1]) for part in said.split(","))
    assert edge > 100 and inside == 0


@pytest.mark.slow
def test_webgpu_is_shown_as_float(serve: Serve, tmp_path: Path, dist: Path) -> None:
    _, links = serve(make_build(tmp_path, "fashion_resnet", 8), dist)
    flags = ["--enable-unsafe-webgpu", "--enable-features=Vulkan", "--use-webgpu-adapter=swiftshader"]
    shown = opened(links[-1], steps=["gpu"], flags=flags)
    if "no WebGPU" in shown["gpu"]:
        pytest.skip("this Chromium has no WebGPU")
    assert "float, not in the integers of the file" in shown["gpu"] and "ms on WebGPU" in shown["gpu"]


@pytest.mark.slow
def test_a_link_that_was_used_says_so(served: tuple[Server, list[str]]) -> None:
    link = served[1][-1]
    opened(link, steps=[])
    assert "used before" in opened(link)["verdict"]


@pytest.mark.slow
def test_a_reply_that_was_lost_is_asked_for_again(served: tuple[Server, list[str]], build: Path) -> None:
    assert opened(served[1][-1], lose=2)["verdict"].startswith("Yes")
    assert len(read_verification(Workspace.existing(build)).devices) == 1


SLEEPS = """
  const get = window.fetch;
  const turn = () => document.dispatchEvent(new Event('visibilitychange'));
  const sleep = () => { Object.defineProperty(document, 'hidden', { value: true, configurable: true }); turn(); };
  const wake = () => { delete document.hidden; turn(); };
  window.fetch = (name, ...more) => {
    if (name === 'questions') { setTimeout(sleep, 10); setTimeout(wake, 2000); }
    return get(name, ...more);
  };
"""


@pytest.mark.slow
def test_a_page_that_was_hidden_says_so(served: tuple[Server, list[str]]) -> None:
    assert "its page was hidden for" in opened(served[1][-1], init=SLEEPS)["figures"]


NO_SIMD = "--js-flags=--no-enable-sse4-1"  # V8 then has no SIMD for WebAssembly on x86
NO_WASM = "delete window.WebAssembly;"
NO_ROOM = """
  const whole = Response.prototype.arrayBuffer;
  Response.prototype.arrayBuffer = function () {
    const large = this.url.endsWith('model.onnx');
    return large ? Promise.reject(new RangeError('Array buffer allocation failed')) : whole.call(this);
  };
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lacks", "words"),
    [
        ({"flags": [NO_SIMD]}, "This browser has no WebAssembly SIMD, which onnxruntime-web needs: update it"),
        ({"init": NO_WASM}, "This browser has no WebAssembly SIMD, which onnxruntime-web needs: update it"),
        ({"init": NO_ROOM}, "This browser has no room for model.onnx ("),
    ],
)
def test_what_a_browser_lacks_is_one_line(served: tuple[Server, list[str]], lacks: dict[str, Any], words: str) -> None:
    shown = opened(served[1][-1], **lacks)
    assert shown["verdict"].startswith(words) and "\n" not in shown["verdict"]


@pytest.mark.slow
def test_what_the_cdn_gives_is_taken_where_it_is_npms(
    dist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    if onnxruntime_web.from_folder(dist).version != onnxruntime_web.VERSION:
        pytest.skip("another version of onnxruntime-web is installed")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(dist))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        first = onnxruntime_web.from_cdn(address)
        server.shutdown()
    assert onnxruntime_web.from_cdn(address) == first
    assert all(path.read_bytes() == (dist / name).read_bytes() for name, path in first.files.items())


@pytest.mark.slow
def test_encryption_gives_a_phone_threads(serve: Serve, build: Path, dist: Path) -> None:
    pytest.importorskip("cryptography")
    _, links = serve(build, dist, tls=True)
    assert links[-1].startswith("https://")
    shown = opened(as_a_phone(links[-1]), flags=[AS_A_PHONE])
    assert shown["secure"] and shown["isolated"] and shown["verdict"].startswith("Yes")


def test_the_pages_own_code_is_small() -> None:
    assert sum(path.stat().st_size for path in page_files().values()) < 60_000
