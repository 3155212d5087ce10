"""The files of onnxruntime-web: from a folder of npm's, or from its CDN where the machine is online.

What comes from the CDN is kept in the user's cache, and used only where its sha256 is that of the npm package.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from genq_export.core.errors import UserError
from genq_export.core.paths import reading
from genq_export.core.workspace import sha256, write_atomic

VERSION = "1.30.0"
CDN = f"https://cdn.jsdelivr.net/npm/onnxruntime-web@{VERSION}/dist"
# sha256 of the files in npm's package of this version.
DIGESTS = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
# In npm's package alone: 27 MB that compute in float.
WEBGPU = ("ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm")
_REMEDY = "run `npm install onnxruntime-web` and give --ort-web node_modules/onnxruntime-web"
_PLACES = ("dist", ".", "node_modules/onnxruntime-web/dist", "onnxruntime-web/dist")
_SECONDS = 20
_MOST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class RuntimeFiles:
    """Files by name, and the version that they say they are."""

    version: str
    files: dict[str, Path]

    @property
    def webgpu(self) -> bool:
        """Are those for WebGPU there?"""
        return set(WEBGPU) <= self.files.keys()


def from_folder(folder: Path) -> RuntimeFiles:
    """The files in npm's package, wherever in it or above it the folder is.

    Raises:
        UserError: where they are not there.
    """
    with reading(folder):
        for place in (folder / name for name in _PLACES):
            files = {name: place / name for name in DIGESTS}
            if all(path.is_file() for path in files.values()):
                further = {name: place / name for name in WEBGPU if (place / name).is_file()}
                return RuntimeFiles(_version(place), files | further)
    raise UserError(f"{folder} has no onnxruntime-web ({', '.join(DIGESTS)}): {_REMEDY}")


def from_cdn(address: str = CDN) -> RuntimeFiles:
    """The files of `VERSION`, from the cache where they are, else from the CDN.

    Raises:
        UserError: where there is no network, or what came is not what npm has.
    """
    folder = _cache() / f"onnxruntime-web-{VERSION}"
    for name, digest in DIGESTS.items():
        with reading(folder):
            if (folder / name).is_file() and sha256(folder / name) == digest:
                continue
        content = _download(f"{address}/{name}")
        if hashlib.sha256(content).hexdigest() != digest:
            raise UserError(f"{address}/{name} is not the file of npm's package (another sha256): {_REMEDY}")
        write_atomic(folder / name, content)
    return RuntimeFiles(VERSION, {name: folder / name for name in DIGESTS})


def _download(address: str) -> bytes:
    try:
        with urlopen(address, timeout=_SECONDS) as answer:
            content: bytes = answer.read(_MOST_BYTES)
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"onnxruntime-web is not here, and {address} cannot be had ({reason}): {_REMEDY}") from None
    return content


def _cache() -> Path:
    """By the XDG base directory specification, which has a relative path ignored."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if os.path.isabs(given) else Path.home() / ".cache") / "genq-export"


def _version(dist: Path) -> str:
    try:
        return str(json.loads((dist.parent / "package.json").read_bytes())["version"])[:40]
    except (OSError, ValueError, KeyError, TypeError):
        return "of unknown version"
