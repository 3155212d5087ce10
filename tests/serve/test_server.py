"""What is served to whom, and what is taken: nothing but the page, the build's files, and one JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genq_export.core.workspace import Workspace
from genq_export.serve.server import Server
from runtime_tests.verify.verify_file import read_verification
from tests.serve.conftest import PHONE, Serve
from tests.serve.device import Device, computed


@pytest.fixture(scope="module")
def running(module_serve: Serve, pristine: Path, web_once: Path) -> tuple[Server, list[str]]:
    """One server for all that changes nothing of the build."""
    return module_serve(pristine, web_once)


@pytest.fixture
def device(running: tuple[Server, list[str]]) -> Device:
    server, links = running
    return Device(server, links[-1]).enter()


def test_the_page_is_there_for_anybody_and_the_build_for_those_with_a_key(
    running: tuple[Server, list[str]], device: Device
) -> None:
    stranger = Device(running[0], running[1][-1])
    for path in ("/", "/page.mjs", "/compare.mjs", "/page.css", "/ort/ort.wasm.min.mjs"):
        assert stranger.request("GET", path)[0] == 200
    for path in ("/model.onnx", "/probes.bin", "/build", "/questions"):
        assert stranger.request("GET", path)[0] == 403
        assert stranger.request("GET", path, key=running[1][-1].split("#")[1])[0] == 403
        assert device.request("GET", path)[0] == 200


def test_a_link_is_good_once_and_another_is_shown(running: tuple[Server, list[str]]) -> None:
    server, links = running
    used, count = Device(server, links[-1]), len(links)
    used.enter()
    status, _, content = used.request("POST", "/key", key=used.token)
    assert status == 403 and "open the one that is shown now" in json.loads(content)["error"]
    assert len(links) == count + 1
    assert Device(server, links[-1]).enter().key not in ("", used.key)


@pytest.mark.parametrize("key", ["", "é", "x" * 5000])
def test_no_other_key_is_one(device: Device, key: str) -> None:
    value = key.encode().decode("latin-1")
    assert device.request("GET", "/model.onnx", key=value)[0] == 403
    assert device.request("POST", "/key", key=value)[0] == 403
    assert device.request("POST", "/answer", b"{}", key=value)[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        "/manifest.json", "/verify.json", "/config.yaml", "/model.safetensors", "/check/index.html", "/.lock",
        "/check/golden.bin", "/golden.json", "/../manifest.json", "/ort/../model.onnx", "/%2e%2e/manifest.json",
        "/..%2fmanifest.json", "/..\\manifest.json", "//etc/passwd", "/model.onnx/", "/model.onnx%00", "/ort/",
        "http://127.0.0.1/model.onnx", "file:///etc/passwd", "*", "/ort/package.json",
    ],
)  # fmt: skip
def test_nothing_else_is_served(device: Device, path: str) -> None:
    assert device.request("GET", path)[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "phone.test.evil"])
def test_another_name_is_not_ours(device: Device, host: str) -> None:
    assert device.request("GET", "/", Host=host)[0] in (400, 421)
    assert device.request("GET", "/model.onnx", Host=host)[0] in (400, 421)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "[::1]:5", "192.168.1.7:8800", PHONE, f"{PHONE}:8800"])
def test_our_names_and_any_address_are(device: Device, host: str) -> None:
    assert device.request("GET", "/", Host=host)[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": ""}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "https://127.0.0.1"}, 403),
        ({"Content_Length": ""}, 411),
        ({"Content_Length": "-1"}, 411),
        ({"Content_Length": "²"}, 411),
        ({"Transfer_Encoding": "chunked"}, 411),
        ({"Content_Length": "999999999"}, 413),
        ({"Content_Length": "9" * 40}, 413),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "multipart/form-data; boundary=x"}, 415),
    ],
)
def test_what_the_page_would_not_send_is_not_read(device: Device, headers: dict[str, str], status: int) -> None:
    assert device.request("POST", "/answer", b'{"format": 1}', **headers)[0] == status


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "HEAD", "TRACE"])
def test_no_other_method_is_known(device: Device, method: str) -> None:
    assert device.request(method, "/")[0] == 501


def test_every_reply_keeps_the_page_to_itself(device: Device) -> None:
    for path in ("/", "/model.onnx", "/nothing"):
        headers = device.request("GET", path)[1]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-embedder-policy"] == "require-corp"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda answer: answer.update(format=2), "format"),
        (lambda answer: answer.update(more=1), "more"),
        (lambda answer: answer.update(questions="guessed"), "nothing was asked"),
        (lambda answer: answer.update(model="0" * 64), "another model.onnx"),
        (lambda answer: answer.update(model="x"), "model"),
        (lambda answer: answer.update(runtime="x" * 501), "runtime"),
        (lambda answer: answer.update(threads=0), "threads"),
        (lambda answer: answer.update(latency_ms={"deployed": {"median": -1, "p90": 1}}), "latency_ms"),
        (lambda answer: answer.update(hidden_seconds=float("nan")), "answer"),
        (lambda answer: answer["images"].pop(), "images"),
        (lambda answer: answer["images"].append(answer["images"][0]), "images"),
        (lambda answer: answer["images"][0]["outputs"].update(more=""), "other outputs"),
        (lambda answer: answer["images"][0]["outputs"].update(logits="AAAA"), "other outputs"),
        (lambda answer: answer["images"][0]["outputs"].update(logits="%%%"), "other outputs"),
        (lambda answer: answer["images"][0]["codes"].popitem(), "other quantizers"),
        (lambda answer: next(iter(answer["images"][0]["codes"].values())).update(kept="AAAA"), "other quantizers"),
        (lambda answer: next(iter(answer["images"][0]["codes"].values())).update(sha256="x"), "images"),
    ],
)
def test_an_answer_to_something_else_is_refused(
    device: Device, pristine: Path, change: Change, reason: str, answer: dict[str, Any]
) -> None:
    answer["questions"] = device.ask()["questions"]
    change(answer)
    before = (pristine / "verify.json").read_bytes()
    status, content = device.send(answer)
    assert status == 400 and reason in content["error"]
    assert (pristine / "verify.json").read_bytes() == before


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 60_000])
def test_what_is_no_json_is_refused(device: Device, body: bytes) -> None:
    status, _, content = device.request("POST", "/answer", body)
    assert status == 400 and "no answer of the page" in json.loads(content)["error"]


@pytest.fixture(scope="module")
def computed_once(running: tuple[Server, list[str]]) -> str:
    device = Device(running[0], running[1][-1]).enter()
    model, probes = (device.request("GET", f"/{name}")[2] for name in ("model.onnx", "probes.bin"))
    return json.dumps(computed(device.ask(), model, probes))


@pytest.fixture
def answer(computed_once: str) -> dict[str, Any]:
    """Right in form, of images that were asked before."""
    found: dict[str, Any] = json.loads(computed_once)
    return found


def test_a_check_joins_the_report_and_may_be_sent_twice(serve: Serve, build: Path, web: Path) -> None:
    server, links = serve(build, web)
    device = Device(server, links[-1]).enter()
    model, probes = (device.request("GET", f"/{name}")[2] for name in ("model.onnx", "probes.bin"))
    found = computed(device.ask(), model, probes)
    status, result = device.send(found)
    assert status == 200
    assert result["verdict"] == "same codes" and result["outputs_equal"]
    assert (result["device"], result["compared_by"]) == ("A <b>board</b>", "host")
    assert device.send(found) == (200, result)
    workspace = Workspace.existing(build)
    assert [item.model_dump(mode="json") for item in read_verification(workspace).devices] == [result]
    assert device.ask()["data"] != device.ask()["data"]


def test_a_build_that_is_in_use_takes_the_answer_later(serve: Serve, build: Path, web: Path) -> None:
    server, links = serve(build, web)
    device = Device(server, links[-1]).enter()
    model, probes = (device.request("GET", f"/{name}")[2] for name in ("model.onnx", "probes.bin"))
    found = computed(device.ask(), model, probes)
    with Workspace.existing(build).locked():
        assert device.send(found)[0] == 503
    assert device.send(found)[0] == 200
