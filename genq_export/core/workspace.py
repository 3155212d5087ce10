"""The build folder: what each stage left, whether it still holds, and how it is written without ever being half there.

`manifest.json` records for every stage the fingerprint of its inputs and the sha256 of every output. A stage is fresh
when its fingerprint is the same and its files still have these hashes. This module does not import torch.
"""

import contextlib
import hashlib
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from genq_export.core.errors import BusyError, UserError
from genq_export.core.manifest import Manifest, StageRecord, read_manifest
from genq_export.core.paths import LONGEST_NAME, check_place, inside, reading, refuse_links
from genq_export.core.platforms import peak_memory_mib

CONFIG_FILE = "config.yaml"
LOG_FILE = "build.log"  # of no stage, in no hash: see core.build_log
_MANIFEST = "manifest.json"
_LOCK = ".lock"
_AT_THE_START = {_LOCK, f".{_MANIFEST}.part"}  # what a build that is just starting has in its folder


@dataclass(frozen=True)
class StageResult:
    """What a stage hands back: files it wrote (relative to the build folder) and facts worth keeping."""

    outputs: list[str]
    summary: dict[str, Any] = field(default_factory=dict)


class Workspace:
    """One build folder. Open it with `Workspace.open`, which refuses folders that are not ours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def open(cls, folder: Path) -> "Workspace":
        """Create the folder or take up an earlier build in it.

        Raises:
            UserError: where no folder can be there, or it holds something that is not a build, a build of another
                manifest version, or links.
            BusyError: where another build is just starting in it.
        """
        check_place(folder)
        workspace = cls(folder)
        workspace._check_ours()
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        if not workspace.path(_MANIFEST).is_file():
            with workspace.locked():  # of two that start together one makes it, and the other is told so
                if not workspace.path(_MANIFEST).is_file():
                    workspace._write_manifest(Manifest())
        return workspace

    @classmethod
    def existing(cls, folder: Path) -> "Workspace":
        """A folder that must already hold a build; raises UserError otherwise, and where there are links in it."""
        with reading(folder):
            if not folder.is_dir() or not inside(folder, _MANIFEST).is_file():
                raise UserError(f"{folder} is not a genq-export build folder (no {_MANIFEST} in it)")
        workspace = cls(folder)
        workspace._check_ours()
        return workspace

    def _check_ours(self) -> None:
        with reading(self.folder):
            if not self.folder.is_dir():
                return
            held = {path.name for path in self.folder.iterdir()}
        if _MANIFEST not in held and held - _AT_THE_START:
            raise UserError(
                f"output folder {self.folder} is not empty and not a genq-export build; give another with -o"
            )
        self.read_manifest()
        refuse_links(self.folder)

    def path(self, *parts: str) -> Path:
        """A path in the build folder; raises UserError where it would lead out of it, by its name or through a link."""
        return inside(self.folder, "/".join(parts)) if parts else self.folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against other builds; the lock goes with the process.

        Raises:
            BusyError: another build has it.
            UserError: there are links in the folder, or the operating system refuses what is done in it meanwhile.
        """
        refuse_links(self.folder)
        path = self._lock_file()
        is_new, lock = not path.exists(), FileLock(path)
        with writing(self.folder):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise BusyError(f"another build is writing to {self.folder}; wait for it or give another -o") from None
        if not self.path(_LOCK).is_file():  # its holder was refused, and took away what it had made
            lock.release()
            raise BusyError(f"another command has just given up {self.folder}; start this one again")
        with contextlib.ExitStack() as held:
            held.callback(lock.release)
            try:
                with _said(self.folder):
                    yield
            except UserError:
                if is_new:  # a command that is refused leaves nothing
                    path.unlink(missing_ok=True)
                raise

    def _lock_file(self) -> Path:
        """Ours is empty; what a user keeps under this name is not to be lost to one that empties it."""
        path = self.path(_LOCK)
        with reading(path):
            if path.exists() and path.stat().st_size:
                raise UserError(f"{path} is not a lock of genq-export, which is empty: move it away")
        return path

    def read_manifest(self) -> Manifest:
        """The manifest, empty if there is none yet. Raises UserError for one that is not ours or of another version."""
        return read_manifest(self.path(_MANIFEST))

    def is_fresh(self, stage: str, fingerprint: str) -> bool:
        """Did this stage run with these inputs, and are its files unharmed?"""
        record = self.read_manifest().stages.get(stage)
        if record is None or record.fingerprint != fingerprint:
            return False
        return all(self.is_unharmed(name, digest) for name, digest in record.outputs.items())

    def is_unharmed(self, name: str, digest: str) -> bool:
        """Is there a file of this name, and has it this sha256?"""
        path = self.path(name)
        with reading(path):
            return path.is_file() and sha256(path) == digest

    def finished(self, stage: str) -> StageRecord:
        """What is recorded of a stage; raises UserError if it has not run."""
        record = self.read_manifest().stages.get(stage)
        if record is None:
            raise UserError(f"{self.folder} has no finished '{stage}' stage: run `genq-export {stage}` first")
        return record

    def output_hashes(self, stage: str) -> dict[str, str]:
        """sha256 by relative path of what the stage left; raises UserError if it has not run."""
        return dict(self.finished(stage).outputs)

    def summary(self, stage: str) -> dict[str, Any]:
        """The facts the stage handed back; raises UserError if it has not run."""
        return dict(self.finished(stage).summary)

    def record(self, stage: str, fingerprint: str, result: StageResult, seconds: float) -> None:
        """Write down that a stage finished; what later stages left stays recorded until they run again."""
        peak = peak_memory_mib()
        record = StageRecord(
            fingerprint=fingerprint,
            seconds=round(seconds, 3),
            peak_memory_mib=None if peak is None else float(int(peak)),
            finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            machine=f"{platform.machine()} {platform.system()}, {os.cpu_count()} cores",
            versions=package_versions(),
            summary=result.summary,
            outputs=self._hashes(result.outputs),
        )
        self._write_manifest(self.read_manifest().with_stage(stage, record))

    def rehash(self, stage: str) -> None:
        """Note the present hashes of a finished stage's files; everything else that is recorded of it stays."""
        record = self.finished(stage)
        renewed = record.model_copy(update={"outputs": self._hashes(list(record.outputs))})
        self._write_manifest(self.read_manifest().with_stage(stage, renewed))

    def write_config(self, content: bytes) -> None:
        """Write `config.yaml` and note its hash."""
        self.write_bytes(CONFIG_FILE, content)
        manifest, digest = self.read_manifest(), hashlib.sha256(content).hexdigest()
        if manifest.config != digest:
            self._write_manifest(manifest.model_copy(update={"config": digest}))

    def holds_its_config(self) -> bool:
        """Is `config.yaml` the one that the last command worked with? True where earlier releases kept no hash."""
        noted = self.read_manifest().config
        return noted is None or self.is_unharmed(CONFIG_FILE, noted)

    def _hashes(self, names: list[str]) -> dict[str, str]:
        return {name: sha256(self.path(name)) for name in sorted(names)}

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file of the build atomically."""
        write_atomic(self.path(name), content)

    def write_json(self, name: str, content: object) -> None:
        """Write a JSON file of the build atomically."""
        write_atomic(self.path(name), (json.dumps(content, indent=1) + "\n").encode())

    def _write_manifest(self, manifest: Manifest) -> None:
        self.write_json(_MANIFEST, manifest.model_dump(mode="json"))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the operating system says of a write into one line (disk full, no permission, …)."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise UserError(f"cannot write to {error.filename or path}: {os.strerror(error.errno)}") from None


@contextmanager
def _said(folder: Path) -> Iterator[None]:
    """One line for what the operating system refuses in the middle of a build, be it a read or a write."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise UserError(f"cannot go on in {folder}: {os.strerror(error.errno)}{_of(error)}") from None


def _of(error: OSError) -> str:
    return f" ({error.filename})" if error.filename is not None else ""


def write_atomic(path: Path, content: bytes) -> None:
    """Write beside, flush to disk, rename over: a reader or a crash sees the old file or the new one.

    Neither name is followed where it is a link: what stood there is taken away, and what it led to stays as it is.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(_partial_name(path.name))
        try:
            partial.unlink(missing_ok=True)  # left by a killed process, or a link that leads elsewhere
            with open(partial, "xb") as handle:
                _write_through(handle, content)
            os.replace(partial, path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


def _partial_name(name: str) -> str:
    """The name of the unfinished file, which must be one that the file system takes, too."""
    long = f".{name}.part"
    return long if len(os.fsencode(long)) <= LONGEST_NAME else f".{hashlib.sha256(name.encode()).hexdigest()}.part"


def _write_through(handle: IO[bytes], content: bytes) -> None:
    handle.write(content)
    handle.flush()
    os.fsync(handle.fileno())


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fingerprint(*parts: object) -> str:
    """Hex digest of JSON-able parts: the identity of a stage's inputs."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def package_versions() -> dict[str, str]:
    """Versions of what decides a build's numbers, as installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("genq-export", "torch", "timm", "diffusers", "transformers", "onnx", "onnxruntime"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
