"""Shows that the table of bad inputs holds the mends: without one of them, tried in a copy of the tree, a row is red.

`python -m tests.robustness.reverts` prints a line for each; exit code 1 where a row stays green.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FOLDERS = ("genq_export", "calibrate", "export", "runtime_tests", "tests")


@dataclass(frozen=True)
class Mend:
    """One mend. file: where it stands, and how. reverted: what would stand there without it. row: that turns red."""

    name: str
    file: str
    mended: str
    reverted: str
    row: str


MENDS = (
    Mend("control characters are shown", "genq_export/core/terminal.py",
         'return "".join(sign if _is_harmless(sign)', 'return text or "".join(sign if _is_harmless(sign)',
         "a terminal would follow: escape"),
    Mend("text is no markup", "genq_export/core/terminal.py",
         "markup=False, emoji=False", "markup=True, emoji=True", "a terminal would follow: markup that ends"),
    Mend("a line is of a length that can be read", "genq_export/core/terminal.py",
         "if len(line) <= _LONGEST:", "if line:", "a folder that is no build: long"),
    Mend("a refused command takes back what it made", "genq_export/pipeline/undo.py",
         "if workspace.read_manifest().stages == recorded:", "if recorded is None:",
         "a style token that is none: text"),
    Mend("deep nesting is no fault of ours", "genq_export/config/yaml_file.py",
         "except RecursionError:", "except ZeroDivisionError:", "deep nesting: verify.threads"),
    Mend("thousands of digits are no fault of ours", "genq_export/config/yaml_file.py",
         "except (yaml.YAMLError, ValueError) as", "except yaml.YAMLError as", "thousands of digits: verify.threads"),
    Mend("half a config is none", "genq_export/config/yaml_file.py",
         "if not _is_whole(text, values):", "if not values:", "cut short: in a word"),
    Mend("no setting holds control characters", "genq_export/config/base.py",
         "if isinstance(value, str | Path) and any(", "if value is None and any(",
         "a control character in a text: calibrate"),
    Mend("weights of a tag that is none", "genq_export/models/timm_hub.py",
         "except RuntimeError:  # no such tag", "except ZeroDivisionError:", "a tag that is none"),
    Mend("names that no system takes are known before", "genq_export/core/paths.py",
         'raise OSError(errno.ENAMETOOLONG, "")', "pass", "a name that is too long: below"),
    Mend("a deep manifest is none", "genq_export/core/manifest.py",
         "except (ValueError, KeyError, TypeError, RecursionError):", "except (ValueError, KeyError, TypeError):",
         "a manifest that is none: deep"),
    Mend("links in a build folder are refused", "genq_export/core/paths.py",
         "if entry.is_symlink():\n                raise", "if entry is None:\n                raise",
         r"links and pipes in a build folder: a link \("),
    Mend("a lack of memory says what to lower", "genq_export/pipeline/memory.py",
         "if not is_lack_of_memory(error):", "if error:", "too little memory: to draw"),
)  # fmt: skip


def copy_of_the_tree(place: Path) -> Path:
    """Copy what the rows run from."""
    for folder in _FOLDERS:
        shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return place


def is_red(mend: Mend, tree: Path) -> bool:
    """Take the mend back in a copy, run its row there, and put it in again."""
    path = tree / mend.file
    mended = path.read_text()
    assert mended.count(mend.mended) == 1, f"{mend.name}: {mend.file} has no such line any more, or several"
    path.write_text(mended.replace(mend.mended, mend.reverted))
    command = [sys.executable, "-m", "tests.robustness", "--only", mend.row]
    done = subprocess.run(
        command, cwd=tree, env=os.environ | {"PYTHONPATH": str(tree)}, capture_output=True, text=True, check=False
    )
    path.write_text(mended)
    return done.returncode == 1 and "RED" in done.stdout


def main() -> None:
    """Try every mend."""
    green = 0
    with tempfile.TemporaryDirectory() as place:
        tree = copy_of_the_tree(Path(place))
        for mend in MENDS:
            red = is_red(mend, tree)
            green += not red
            print(f"{'red' if red else 'STAYS GREEN'} without: {mend.name}", flush=True)
    print(f"{len(MENDS) - green} of {len(MENDS)} mends are held by a row")
    sys.exit(1 if green else 0)


if __name__ == "__main__":
    main()
