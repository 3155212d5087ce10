"""What is served and what is taken, without a network: paths and keys in, replies out."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from genq_export.core.damaged_field import damaged_field
from genq_export.core.errors import BusyError, UserError
from genq_export.serve.access import Access
from genq_export.serve.answer import Answer
from genq_export.serve.examiner import Examiner
from runtime_tests.verify.results import DeviceResult

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".wasm": "application/wasm",
}
_BYTES, _JSON = "application/octet-stream", "application/json"
_PAGE = ("page.mjs", "host.mjs", "picture.mjs", "outputs.mjs", "boxes.mjs", "webgpu.mjs")  # of ours
_SHARED = ("compare.mjs", "sha256.mjs", "runtime.mjs", "show.mjs", "page.css")  # of the check, as installed
_DEVICE_NAME = 500
_REMEMBERED = 32


@dataclass(frozen=True)
class Reply:
    """What goes back: a status, and bytes or a file of a kind."""

    status: int
    content: bytes | Path
    kind: str = _JSON


def refusal(status: int, reason: str) -> Reply:
    """Why not, as JSON."""
    return Reply(status, json.dumps({"error": reason}).encode())


class Service:
    """One build, offered to the devices that have a key."""

    def __init__(
        self,
        access: Access,
        examiner: Examiner,
        described: Mapping[str, Any],
        model: Mapping[str, Path],
        runtime: Mapping[str, Path],
        record: Callable[[DeviceResult], DeviceResult],
        opened: Callable[[], None],
    ) -> None:
        """Offer a build.

        Args:
            access: who may ask.
            examiner: asks and judges.
            described: what the page is told.
            model: files of the build by name.
            runtime: files of onnxruntime-web by name.
            record: puts a result into the build.
            opened: is called when a link was used.
        """
        self._access, self._examiner, self._record, self._opened = access, examiner, record, opened
        self._described, self._model = described, model
        self._open_files = page_files() | {f"/ort/{name}": path for name, path in runtime.items()}
        self._answered: dict[str, DeviceResult] = {}
        self._lock = threading.Lock()

    @property
    def most_bytes(self) -> int:
        """Of what is sent here."""
        return self._examiner.most_bytes

    def get(self, path: str, key: str) -> Reply:
        """What is asked for: the page to anybody, the build to whoever has a key."""
        if path in self._open_files:
            place = self._open_files[path]
            return Reply(200, place, _KINDS[place.suffix])
        wanted = path.removeprefix("/")
        if wanted not in (*self._model, "build", "questions"):
            return refusal(404, "nothing of this name is served")
        if not self._access.knows(key):
            return refusal(403, "open the link that genq-export shows")
        if wanted in self._model:
            return Reply(200, self._model[wanted], _BYTES)
        return _json(self._described if wanted == "build" else self._examiner.ask())

    def post(self, path: str, key: str, body: bytes, device: str) -> Reply:
        """Take a link's token for a key, or an answer.

        Args:
            path: `/key` or `/answer`.
            key: for `/key` the token of the link.
            body: JSON of an answer; empty for a key.
            device: what the browser calls itself.
        """
        if path == "/key":
            return self._give_key(key)
        if path != "/answer":
            return refusal(404, "nothing is taken under this name")
        if not self._access.knows(key):
            return refusal(403, "open the link that genq-export shows")
        try:
            return _json(self._take(Answer.model_validate_json(body), device[:_DEVICE_NAME]).model_dump(mode="json"))
        except ValidationError as error:
            return refusal(400, f"this is no answer of the page ({damaged_field(error)})")
        except BusyError as error:
            return refusal(503, str(error))
        except UserError as error:
            return refusal(400, str(error))

    def _give_key(self, token: str) -> Reply:
        key = self._access.open(token)
        if key is None:
            return refusal(403, "this link is of an earlier run, or was used before: open the one that is shown now")
        self._opened()
        return _json({"key": key})

    def _take(self, answer: Answer, device: str) -> DeviceResult:
        """Judge and write down, once: a phone that lost our reply sends the same again."""
        with self._lock:
            if answer.questions not in self._answered:
                result = self._record(self._examiner.judge(answer, device))
                self._examiner.close(answer.questions)
                kept = list(self._answered.items())[-_REMEMBERED + 1 :]
                self._answered = dict([*kept, (answer.questions, result)])
            return self._answered[answer.questions]


def page_files() -> dict[str, Path]:
    """The page and its modules by path, from the installed packages: a build may be a stranger's."""
    own, shared = Path(str(files("genq_export.serve"))), Path(str(files("export.check")))
    named = {f"/{name}": own / "assets" / name for name in _PAGE}
    named |= {f"/{name}": shared / "assets" / name for name in _SHARED}
    return {"/": own / "assets" / "index.html", **named}


def _json(content: Any) -> Reply:
    return Reply(200, json.dumps(content).encode())
