"""Photographs that judge and choose nothing: one of each of ImageNet's 1,000 classes, out of a public repository.

    git clone https://github.com/EliSchwartz/imagenet-sample-images samples

They are not ours to pass on, so the clone is named (`--sealed samples`) and held against a hash: figures of other
photographs, or of a choice among these, cannot come about by accident. The file names begin with WordNet numbers, in
whose order ImageNet's classes stand.
"""

import hashlib
from pathlib import Path

SEAL = "1656025b5dc13f61d508d11c9365113ab058cb70b3c61a11b2c8e7e85327b9fd"  # commit bc69043
CLASSES = 1000


def sealed_photographs(folder: Path) -> list[Path]:
    """The photographs, by class. Raises SystemExit where they are others than those that were sealed."""
    found = sorted(folder.glob("*.JPEG"))
    seal = hashlib.sha256()
    for path in found:
        seal.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    if len(found) != CLASSES or seal.hexdigest() != SEAL:
        raise SystemExit(
            f"{folder} holds {len(found)} photographs, not the {CLASSES} that were sealed: clone commit bc69043 of"
            " https://github.com/EliSchwartz/imagenet-sample-images"
        )
    return found
