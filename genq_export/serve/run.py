"""`genq-export serve`: a build is looked at, offered on a port, and what devices find joins its report."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from export.check.answers import answering
from export.check.read import GoldenData, read_golden
from genq_export.core.companions import check_packages
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.description import FILE, read_description
from genq_export.network.files import INTEGER_FILES, load_integer_model
from genq_export.pipeline.reverify import keep_result
from genq_export.serve import onnxruntime_web
from genq_export.serve.access import Access
from genq_export.serve.certificate import Encryption, self_signed
from genq_export.serve.description import description
from genq_export.serve.examiner import Examiner
from genq_export.serve.place import Place, place_of
from genq_export.serve.server import Server
from genq_export.serve.service import Service
from runtime_tests.verify.results import DeviceResult
from runtime_tests.verify.verify_file import read_verification

PORT = 8800
_SERVED = {"model.onnx": "model.onnx", "probes.bin": "check/probes.bin"}
_NEEDED = (*_SERVED.values(), "check/golden.json", "check/golden.bin", *INTEGER_FILES, FILE)


@dataclass(frozen=True)
class Offer:
    """Where a build is offered: `host` and `port` to listen on, encrypted or not, and the folder of onnxruntime-web."""

    host: str | None = None
    port: int = PORT
    tls: bool = False
    ort_web: Path | None = None


def serve(folder: Path, offer: Offer, progress: Progress, show_link: Callable[[str], None]) -> None:
    """Serve until the user stops it.

    Args:
        folder: of a verified build.
        offer: how.
        progress: told what devices find.
        show_link: is given each link that a person may open.

    Raises:
        UserError: where the build, the place or onnxruntime-web is not what is needed.
    """
    try:
        with listening(folder, offer, place_of(offer.host), progress, show_link) as server:
            server.serve_forever()
    except KeyboardInterrupt:
        progress.say("serve: stopped")


def listening(folder: Path, offer: Offer, place: Place, progress: Progress, show_link: Callable[[str], None]) -> Server:
    """A server that listens, and whose first link was shown. Raises UserError as `serve` does."""
    check_packages()
    workspace = Workspace.existing(folder)
    data = _checked(workspace)
    encryption = _encryption(offer, place, progress)
    web = onnxruntime_web.from_cdn() if offer.ort_web is None else onnxruntime_web.from_folder(offer.ort_web)
    network = read_description(folder)
    if network is None:
        raise UserError(f"{folder} has no {FILE}: run `genq-export export {folder}`")
    runs = read_verification(workspace).runs
    described = description(data.golden, network, workspace.path("model.onnx"), web.version, runs, web.webgpu)
    access = Access()
    containers = {item.name: item.dtype for item in data.golden.quantizers}
    service = Service(
        access,
        Examiner(data, answering(load_integer_model(folder), containers)),
        described,
        {name: workspace.path(path) for name, path in _SERVED.items()},
        web.files,
        lambda result: _recorded(folder, result, progress),
        lambda: show_link(server.link(access.link)),
    )
    server = Server(place, offer.port, service, encryption)
    progress.say(f"serve: {data.golden.network} {data.golden.grid} with onnxruntime-web {web.version}; Ctrl-C ends it")
    show_link(server.link(access.link))
    return server


def _checked(workspace: Workspace) -> GoldenData:
    """The golden data of a build whose files are as export left them."""
    workspace.finished("verify")
    left = workspace.output_hashes("export")
    again = f"run `genq-export export {workspace.folder}`, then verify"
    for name in _NEEDED:
        if name not in left:
            raise UserError(f"{workspace.folder} has no {name} of its export: {again}")
        if not workspace.is_unharmed(name, left[name]):
            raise UserError(f"{workspace.path(name)} is not the file that export left: {again}")
    data = read_golden(workspace)
    if data.golden.model != left["model.onnx"]:
        raise UserError(f"the check of {workspace.folder} is of another model.onnx: {again}")
    return data


def _encryption(offer: Offer, place: Place, progress: Progress) -> Encryption | None:
    if not offer.tls:
        return None
    encryption = self_signed(sorted({place.shown, place.address, "localhost", *place.names}))
    progress.say(
        f"serve: browsers warn of a certificate that they do not know; its SHA-256 is {encryption.fingerprint}"
    )
    return encryption


def _recorded(folder: Path, result: DeviceResult, progress: Progress) -> DeviceResult:
    kept = keep_result(folder, result, "what the device sent")
    times = kept.latency_ms.get("deployed")
    took = f", {times.median:.2f} ms a call" if times else ""
    first = f", first {kept.first_unlike}" if kept.first_unlike else ""
    progress.say(
        f"{kept.device}, {kept.runtime}: {kept.verdict}{first}{took}; `genq-export report {folder}` writes it down"
    )
    return kept
