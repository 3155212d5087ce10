"""One line for what is wrong, exit code 2, and the build as it was."""

import hashlib
import http.server
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from genq_export.core.errors import UserError
from genq_export.serve import certificate, onnxruntime_web
from genq_export.serve.place import place_of
from genq_export.serve.run import Offer, listening
from tests.serve.conftest import QUIET

TREE = Path(__file__).parents[2]


def refused(build: Path, offer: Offer) -> str:
    """What serving says in one line; the folder stays as it was."""
    before = {path: path.read_bytes() for path in build.rglob("*") if path.is_file()}
    with pytest.raises(UserError) as error:
        listening(build, offer, place_of(offer.host), QUIET, lambda link: None)
    assert before == {path: path.read_bytes() for path in build.rglob("*") if path.is_file()}
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_port_in_use(build: Path, web: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(build, Offer(port=port, ort_web=web))
    assert said == f"port {port} of 127.0.0.1 is in use: end what has it, or give another with --port"


def test_an_address_of_another_machine(build: Path, web: Path) -> None:
    said = refused(build, Offer(host="192.0.2.7", port=0, ort_web=web))
    assert said == "192.0.2.7 is no address of this machine: give one that is with --host, or 0.0.0.0"


def test_a_folder_without_the_runtime(build: Path, tmp_path: Path) -> None:
    for folder in (tmp_path / "gone", tmp_path):
        said = refused(build, Offer(port=0, ort_web=folder))
        assert f"{folder} has no onnxruntime-web" in said and "npm install onnxruntime-web" in said


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(build: Path, stage: str) -> None:
    manifest = json.loads((build / "manifest.json").read_bytes())
    del manifest["stages"][stage]
    (build / "manifest.json").write_text(json.dumps(manifest))


def without_check(build: Path) -> None:
    manifest = json.loads((build / "manifest.json").read_bytes())
    left = manifest["stages"]["export"]["outputs"]
    manifest["stages"]["export"]["outputs"] = {name: left[name] for name in left if not name.startswith("check/")}
    (build / "manifest.json").write_text(json.dumps(manifest))


def of_another_model(build: Path) -> None:
    """A check of another file, under hashes that agree."""
    place = build / "check/golden.json"
    place.write_text(json.dumps(json.loads(place.read_bytes()) | {"model": "0" * 64}))
    _rehash(build, "check/golden.json")


def of_another_size(build: Path) -> None:
    place = build / "check/golden.json"
    place.write_text(json.dumps(json.loads(place.read_bytes()) | {"shape": [3, 3000, 3000]}))
    _rehash(build, "check/golden.json")


def _rehash(build: Path, name: str) -> None:
    manifest = json.loads((build / "manifest.json").read_bytes())
    digest = hashlib.sha256((build / name).read_bytes()).hexdigest()
    manifest["stages"]["export"]["outputs"][name] = digest
    (build / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda build: cut(build / "check/golden.json"), "golden.json is not the file that export left"),
        (lambda build: cut(build / "check/golden.bin"), "golden.bin is not the file that export left"),
        (lambda build: (build / "check/probes.bin").unlink(), "probes.bin is not the file that export left"),
        (lambda build: cut(build / "model.onnx"), "model.onnx is not the file that export left"),
        (lambda build: cut(build / "model.safetensors"), "model.safetensors is not the file that export left"),
        (lambda build: emptied(build, "verify"), "no finished 'verify' stage"),
        (lambda build: emptied(build, "export"), "no finished 'export' stage"),
        (without_check, "has no check/probes.bin of its export"),
        (of_another_model, "is of another model.onnx"),
        (of_another_size, "does not belong to golden.bin"),
    ],
)
def test_a_build_that_is_not_whole(build: Path, web: Path, spoil: Callable[[Path], object], words: str) -> None:
    spoil(build)
    assert words in refused(build, Offer(port=0, ort_web=web))


def test_no_folder_and_no_network(build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    said = refused(build, Offer(port=0))
    assert said.startswith("onnxruntime-web is not here, and https://cdn.jsdelivr.net/")
    assert said.endswith("run `npm install onnxruntime-web` and give --ort-web node_modules/onnxruntime-web")


def test_what_the_cdn_gives_is_held_against_npms_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in onnxruntime_web.DIGESTS:
        (tmp_path / name).write_text("somebody else's")

    class Files(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, format: str, *arguments: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(UserError, match="is not the file of npm's package"):
            onnxruntime_web.from_cdn(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert not (tmp_path / "cache").exists()


def test_encryption_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(UserError, match="pip install cryptography, or leave --tls out"):
        certificate.self_signed(["127.0.0.1"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "is not a genq-export build folder"),
        (["BUILD", "--port", "70000"], "65535"),
        (["BUILD", "--port", "0", "--ort-web", "nowhere"], "has no onnxruntime-web"),
    ],
)
def test_the_command_says_it_in_one_line(build: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    given = [str(build) if word == "BUILD" else word for word in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "genq_export", "serve", *given],
        capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TREE), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and words in done.stderr
