"""The table at the end of `reproduce.sh`: what was measured beside what was published.

    python recipes/reproduced.py OUT resnet50-w4a4-ptq resnet50-w4a4-qat

Reads `report.json` of each build and needs nothing but Python.
"""

import json
import sys
from pathlib import Path

# ImageNet top-1, in percent; where each figure is from stands in README.md.
PUBLISHED = {
    "resnet50-w4a4-ptq": ("75.47 (one reading)", "75.51"),
    "resnet50-w4a4-qat": ("76.10 (abstract)", "76.30"),
}


def main() -> None:
    """Print a row for every build."""
    folder, *rows = sys.argv[1:]
    print("| recipe | network | float | deployed | loss, points | gates | GenQ | its engine, real data |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join([row, *measured(Path(folder) / row / 'report.json'), *PUBLISHED[row]])} |")


def measured(file: Path) -> list[str]:
    """Network, top-1 of float and deployed, the loss, and whether the gates passed."""
    report = json.loads(file.read_text())
    accuracy = report["accuracy"]
    before, after = accuracy["float"]["top1"], accuracy[report["run"]["deployed"]]["top1"]
    return [
        report["model"], f"{100 * before:.2f}", f"{100 * after:.2f}", f"{100 * (before - after):+.2f}",
        "passed" if report["passed"] else "failed",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
