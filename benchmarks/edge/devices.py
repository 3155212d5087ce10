"""What the check folders of builds say elsewhere: ARM64 (emulated), Node, WebAssembly, Chromium; prints a table.

    python -m benchmarks.edge.devices --work FOLDER [--only NAME] BUILD [BUILD ...]

Each runtime runs the check that travels with a build, one image after the other. For 128 images a build is made with
`--set export.check_images=128 --set export.check_size=4MB`. Packages go below FOLDER; nothing is installed elsewhere.
Results are kept in FOLDER/devices.jsonl: a second call measures what is missing. No time is measured.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

from benchmarks.edge.devices_table import Result, table
from benchmarks.edge.environments import in_own_environment, install_npm, reason_of
from benchmarks.result_lines import kept, read

HERE = Path(__file__).resolve().parent
TOOLS = HERE / "runtime_tools"
NODE, WEB, BROWSER = "onnxruntime-node@1.30.0", "onnxruntime-web@1.30.0", "playwright-core@1.65.1"
CPUS = ("cortex-a53", "cortex-a76", "max")
_SECONDS = 4 * 3600  # a large network on an emulated processor

Checked = Callable[[Path, Path], dict[str, Any]]
"""FOLDER, BUILD -> what its check found."""


@dataclass(frozen=True)
class Device:
    """A place where checks run."""

    title: str
    check: Checked


def main() -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("builds", nargs="+", type=Path, metavar="BUILD")
    parser.add_argument("--work", type=Path, required=True, help="folder for packages and results")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="part of a title; may be repeated")
    options = parser.parse_args()
    work, builds = options.work.resolve(), [build.resolve() for build in options.builds]
    work.mkdir(parents=True, exist_ok=True)
    chosen = [d for d in DEVICES if not options.only or any(part in d.title for part in options.only)]
    results = work / "devices.jsonl"
    for result in kept(results, _missing(work, builds, chosen, {item.key for item in read(results, Result)})):
        print(result.summary(), file=sys.stderr, flush=True)
    wanted = {golden_of(build)["data"] for build in builds}
    found = [result for result in read(results, Result) if result.golden in wanted]
    titles = [device.title for device in DEVICES]
    print(table(sorted(found, key=lambda result: titles.index(result.device))))


def golden_of(build: Path) -> dict[str, Any]:
    """What `check/golden.json` says."""
    path = build / "check" / "golden.json"
    if not path.is_file():
        sys.exit(f"{build} has no folder check: give builds made with export.check_size above 0")
    content: dict[str, Any] = json.loads(path.read_bytes())
    return content


def _missing(work: Path, builds: list[Path], devices: list[Device], known: set[tuple[str, str]]) -> Iterator[Result]:
    for build in builds:
        golden = golden_of(build)
        for device in devices:
            if (device.title, golden["data"]) not in known:
                yield _measured(device, work, build, f"{golden['network']} {golden['grid']}", golden["data"])


def _measured(device: Device, work: Path, build: Path, network: str, golden: str) -> Result:
    try:
        found = device.check(work, build)
    except subprocess.SubprocessError as error:
        return Result(device.title, network, golden, error=reason_of(error))
    names = ("runtime", "threads", "images", "outputs_equal", "outputs_largest_gap", "same_answers")
    names += ("quantizers", "quantizers_unlike", "codes_equal", "first_unlike", "first_unlike_by")
    return Result(device.title, network, golden, **{name: found[name] for name in names})


def _on_arm64(cpu: str, work: Path, build: Path) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        told = {"RESULTS": folder}
        # Exit code 1 says that codes differ, and where there is no result, what was printed says why.
        said = in_own_environment([HERE / "arm64.sh", build, cpu], work, told, seconds=_SECONDS, accepted=(0, 1))
        return _result(Path(folder) / f"{cpu}.json", said)


def _in_node(work: Path, build: Path) -> dict[str, Any]:
    return _checked_in_node(install_npm(work, NODE), [build / "check" / "check.mjs"])


def _webassembly_in_node(work: Path, build: Path) -> dict[str, Any]:
    return _checked_in_node(install_npm(work, WEB), [TOOLS / "web_check.mjs", build / "check"])


def _checked_in_node(environment: Path, program: list[Path]) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        command = ["node", *program, "--runs", "0", "--output", path]
        said = in_own_environment(command, environment, seconds=_SECONDS, accepted=(0, 1))
        return _result(path, said)


def _in_chromium(isolated: bool, work: Path, build: Path) -> dict[str, Any]:
    """The page of the check folder; threads are for pages that are isolated from others."""
    web, browser = install_npm(work, WEB), install_npm(work, BROWSER)
    places = {"/build/": build, "/ort/": web / "node_modules" / "onnxruntime-web" / "dist"}
    handler = partial(_Files, places, isolated)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        page = f"http://127.0.0.1:{server.server_port}/build/check/index.html?ort=/ort/&start"
        said = in_own_environment(["node", TOOLS / "page_check.mjs", page], browser, seconds=_SECONDS)
        server.shutdown()
    content: dict[str, Any] = json.loads(said.splitlines()[-1])
    return content


class _Files(SimpleHTTPRequestHandler):
    """Two folders on one address."""

    def __init__(self, places: dict[str, Path], isolated: bool, *arguments: Any) -> None:
        self.places, self.isolated = places, isolated
        super().__init__(*arguments)

    def translate_path(self, path: str) -> str:
        """`/build/model.onnx` -> the file; nothing outside the folders."""
        for start, folder in self.places.items():
            if path.startswith(start):
                self.directory = str(folder)
                return super().translate_path("/" + path.removeprefix(start))
        return "/nowhere"

    def end_headers(self) -> None:
        """With what isolates a page."""
        if self.isolated:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def _result(path: Path, said: str) -> dict[str, Any]:
    if not path.is_file():
        raise subprocess.CalledProcessError(1, "check", output=said)
    content: dict[str, Any] = json.loads(path.read_bytes())
    return content


DEVICES = (
    *(Device(f"ONNX Runtime on ARM64, {cpu} (emulated)", partial(_on_arm64, cpu)) for cpu in CPUS),
    Device("onnxruntime-node", _in_node),
    Device("onnxruntime-web in Node", _webassembly_in_node),
    Device("onnxruntime-web in Chromium, one thread", partial(_in_chromium, False)),
    Device("onnxruntime-web in Chromium, threads", partial(_in_chromium, True)),
)


if __name__ == "__main__":
    main()
