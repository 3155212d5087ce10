"""A detector's answers on the page are those that the host's task reads."""

import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genq_export.serve.service import page_files
from genq_export.tasks.boxes import boxes_and_scores, detections, has_corners, layout_of

MODULE = Path(page_files()["/boxes.mjs"])
PROGRAM = """
import { readFileSync } from "node:fs";
const { detected } = await import(process.argv[2]);
const { layout, found } = JSON.parse(readFileSync(0));
console.log(JSON.stringify(detected(layout, found)));
"""


def outputs(kind: str, corners: bool) -> dict[str, np.ndarray]:
    """One image's of a detector of 3 classes with 60 boxes in clusters."""
    rng = np.random.default_rng(len(kind) + corners)
    centre = rng.uniform(20, 80, (6, 2)).repeat(10, 0) + rng.normal(0, 2, (60, 2))
    size = rng.uniform(8, 20, (60, 2))
    boxes = np.concatenate((centre - size / 2, centre + size / 2) if corners else (centre, size), 1)
    scores = rng.uniform(0, 1, (60, 3)) if kind != "raw scores" else rng.normal(0, 2, (60, 3))
    if kind == "together":
        return {"all": np.concatenate((boxes, scores), 1).T[None].astype(np.float32)}
    turned = scores.T if kind == "turned" else scores
    return {"scores": turned[None].astype(np.float32), "boxes": boxes[None].astype(np.float32)}


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("kind", ["two outputs", "turned", "together", "raw scores"])
def test_the_page_finds_what_the_task_finds(tmp_path: Path, kind: str, corners: bool) -> None:
    found = outputs(kind, corners)
    layout = layout_of({name: array.shape[1:] for name, array in found.items()})
    assert layout is not None
    ((boxes, scores),) = zip(*boxes_and_scores(layout, found), strict=True)
    expected = detections(boxes, scores, has_corners(boxes), 0.3)
    told = {name: {"data": array.ravel().tolist(), "dims": array.shape} for name, array in found.items()}
    program = tmp_path / "program.mjs"
    program.write_text(PROGRAM)
    done = subprocess.run(
        ["node", program, MODULE.as_uri()], input=json.dumps({"layout": asdict(layout), "found": told}),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    drawn: list[dict[str, Any]] = json.loads(done.stdout)
    assert [box["class"] for box in drawn] == expected["labels"].tolist() and len(drawn) > 5
    assert np.allclose([box["corners"] for box in drawn], expected["boxes"], atol=1e-3)
    assert np.allclose([box["score"] for box in drawn], expected["scores"], atol=1e-5)
