"""What decides a stage's result makes it stale; what does not, does not."""

from pathlib import Path

import pytest

from genq_export.config.build import BuildConfig
from genq_export.pipeline.fingerprint import bare_code, closure, code_identity
from genq_export.pipeline.stages import STAGES, find_stage

TREE = {
    "genq_export/__init__.py": "",
    "genq_export/stage.py": '"""A stage."""\nfrom genq_export.config import registry\n\nSTEPS = 3\n\n\n'
    'def run():\n    """Run."""\n    from export.write import write  # only now\n\n    return write(STEPS)\n',
    "genq_export/config/__init__.py": "",
    "genq_export/config/registry.py": 'TARGETS = {"one": "genq_export.one:ONE"}\n',
    "genq_export/one.py": "import torch\nONE = 1\n",
    "genq_export/two.py": "TWO = 2\n",
    "export/__init__.py": "",
    "export/write.py": "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n"
    "    from genq_export.two import TWO\n\n\ndef write(steps):\n    return steps\n",
    "export/templates/page.md": "# page\n",
}
ENTRIES = ("genq_export.stage", "genq_export.one")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, content in TREE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


def identity(root: Path) -> str:
    return code_identity(closure(ENTRIES, root), root)


def change(root: Path, name: str, old: str, new: str) -> None:
    path = root / name
    assert old in path.read_text() or not old
    path.write_text(path.read_text().replace(old, new) if old else new)


def test_the_closure_follows_imports_at_the_top_and_inside_functions(tree: Path) -> None:
    assert closure(ENTRIES, tree) == (
        "export", "export.write", "genq_export", "genq_export.config", "genq_export.one", "genq_export.stage",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("genq_export/stage.py", "STEPS = 3", "STEPS = 4"),
        ("export/write.py", "return steps", "return steps + 1"),
        ("genq_export/one.py", "ONE = 1", "ONE = 2"),
        ("export/templates/page.md", "page", "sheet"),
        ("genq_export/stage.py", "from export.write", "from genq_export.two import TWO\n    from export.write"),
    ],
)
def test_what_decides_makes_it_stale(tree: Path, name: str, old: str, new: str) -> None:
    before = identity(tree)
    change(tree, name, old, new)
    assert identity(tree) != before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("genq_export/stage.py", "  # only now", ""),
        ("genq_export/stage.py", '"""A stage."""', '"""Another\n\nword."""\n# and a comment\n'),
        ("genq_export/stage.py", '    """Run."""\n', ""),
        ("genq_export/two.py", "TWO = 2", "TWO = 3"),  # nobody imports it but for its types
        ("genq_export/config/registry.py", "}", ', "three": "genq_export.three:THREE"}'),
        ("genq_export/three.py", "", "THREE = 3\n"),  # a new target that is not used
    ],
)
def test_what_does_not_decide_leaves_it_fresh(tree: Path, name: str, old: str, new: str) -> None:
    before = identity(tree)
    if not old:
        (tree / name).touch()
    change(tree, name, old, new)
    assert identity(tree) == before


def test_a_string_that_looks_like_a_comment_counts() -> None:
    assert bare_code('x = "# 1"\n') != bare_code('x = "# 2"\n')
    assert bare_code('def f(): "one line"\n') == 'def f(): "one line"'


def modules(stage: str, target: str) -> tuple[str, ...]:
    config = BuildConfig.for_model("fashion_resnet", target=target)
    return closure(find_stage(stage).parts(config))


@pytest.mark.parametrize(("target", "other"), [("onnxruntime", "tensorrt"), ("tensorrt", "onnxruntime")])
def test_only_the_target_in_use_decides_the_export(target: str, other: str) -> None:
    found = modules("export", target)
    assert f"genq_export.targets.{target}" in found and f"genq_export.targets.{other}" not in found
    assert {"export.run", "export.onnx_qdq", "genq_export.network.operators"} <= set(found)


def test_every_stage_covers_its_own_room_and_no_room_above() -> None:
    for stage, room in zip(STAGES, ("calibrate.", "genq_export.quantization.", "export.", "runtime_tests.verify.",
                                    "runtime_tests.report."), strict=True):  # fmt: skip
        found = modules(stage, "onnxruntime")
        assert any(name.startswith(room) for name in found)
        assert not any(name.startswith(("genq_export.cli", "genq_export.pipeline")) for name in found)
    assert {"genq_export.runtimes.onnxruntime", "genq_export.data.webdataset"} <= set(modules("verify", "onnxruntime"))
