"""Small verified builds to serve."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from genq_export.core.progress import Progress
from genq_export.serve.place import HERE, Place
from genq_export.serve.run import Offer, listening
from genq_export.serve.server import Server
from tests.serve.builds import make_build, runtime_folder

QUIET = Progress(quiet=True)
PHONE = "phone.test"


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zoo's ResNet at 4 bits; no test may change it."""
    return make_build(tmp_path_factory.mktemp("served"), "fashion_resnet", 4)


@pytest.fixture
def build(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "build"))


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """A folder as npm leaves it, with files of the right names."""
    return runtime_folder(tmp_path / "web")


@pytest.fixture(scope="session")
def web_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runtime_folder(tmp_path_factory.mktemp("web"))


Serve = Callable[..., tuple[Server, list[str]]]


@contextmanager
def serving() -> Iterator[Serve]:
    """What serves a build in a thread, and gives the server and the links that were shown."""
    servers: list[Server] = []

    def start(folder: Path, ort_web: Path, tls: bool = False) -> tuple[Server, list[str]]:
        links: list[str] = []
        place = Place(HERE, HERE, frozenset({PHONE}))
        servers.append(listening(folder, Offer(port=0, tls=tls, ort_web=ort_web), place, QUIET, links.append))
        Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1], links

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def serve() -> Iterator[Serve]:
    with serving() as start:
        yield start


@pytest.fixture(scope="module")
def module_serve() -> Iterator[Serve]:
    with serving() as start:
        yield start
