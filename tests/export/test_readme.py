"""The README.md of a build folder: what it says runs as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

from export.stage import run
from genq_export import zoo
from genq_export.config import BuildConfig
from genq_export.images import EvaluationSet
from genq_export.models import load_model
from genq_export.progress import Progress
from genq_export.quantize.prepare import calibrate_ranges, prepare
from genq_export.quantize.reference import save_reference
from genq_export.targets import rule_for
from genq_export.workspace import Workspace


def test_five_lines_run_the_file_in_the_build_folder(tmp_path: Path) -> None:
    """In a python of its own that knows neither this package nor any setting."""
    config = BuildConfig.for_model("fashion_resnet", bits=4)
    model = load_model(config.model)
    reference, _ = prepare(model.module, model.input_size, config.quantize, rule_for("onnxruntime"))
    calibrate_ranges(reference, EvaluationSet("few", *zoo.few_shot_set()).batches(model, 80))
    workspace = Workspace.open(tmp_path / "build")
    save_reference(reference, workspace.folder)
    run(workspace, config, model, Progress(quiet=True))
    blocks = re.findall(r"```python\n(.*?)```", workspace.path("README.md").read_text(), re.DOTALL)
    assert len(blocks) == 1 and len(blocks[0].splitlines()) == 5
    command = [sys.executable, "-I", "-c", blocks[0]]
    done = subprocess.run(command, cwd=workspace.folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"\[\d\]\n", done.stdout)
