"""Whether the hub can be reached: by an answer, not by a connection."""

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from huggingface_hub import constants

from genq_export.config.build import BuildConfig
from genq_export.models import source
from genq_export.models.hub import hub_reachable


class _Answers(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_any_answer_is_one(online: pytest.MonkeyPatch) -> None:
    with HTTPServer(("127.0.0.1", 0), _Answers) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        online.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        assert hub_reachable()


def test_a_hub_that_never_answers_is_not_waited_for(online: pytest.MonkeyPatch, silent: str) -> None:
    online.setattr(constants, "ENDPOINT", silent)
    started = time.monotonic()
    assert not hub_reachable()
    assert time.monotonic() - started < 12


@pytest.mark.slow
def test_what_to_do_without_the_hub_is_said(online: pytest.MonkeyPatch, silent: str) -> None:
    online.setattr(constants, "ENDPOINT", silent)
    (problem,) = source.problems(BuildConfig.for_model("resnet18").model)
    assert "hub cannot be reached" in problem and "--weights FILE" in problem and "hf download" in problem


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://nowhere.invalid", "no address", ""])
def test_nobody_there_is_no_hub(online: pytest.MonkeyPatch, endpoint: str) -> None:
    online.setattr(constants, "ENDPOINT", endpoint)
    assert not hub_reachable()


def test_a_hub_that_is_not_to_be_asked_is_none(online: pytest.MonkeyPatch) -> None:
    online.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not hub_reachable()
