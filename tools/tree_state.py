"""Which code is this: one hash of the files of a working tree, as they lie there."""

import hashlib
import subprocess
from pathlib import Path

PACKAGES = ("genq_export", "calibrate", "export", "runtime_tests")  # what the wheel holds


def tree_state(root: Path, below: tuple[str, ...] = ()) -> str:
    """Hash names and contents of the files that git tracks or would track.

    Args:
        root: a git working tree.
        below: folders or files to look at; none: the whole tree.

    Returns:
        A SHA-256 in hexadecimal digits.

    Raises:
        subprocess.CalledProcessError: `root` is no git working tree.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *below]
    listed = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout.decode()
    total = hashlib.sha256()
    for name in sorted(set(filter(None, listed.split("\0")))):
        if (root / name).is_file():  # a deleted file is listed until it is staged
            total.update(f"{name}\0{hashlib.sha256((root / name).read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()
