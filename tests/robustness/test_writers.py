"""Every writer goes through one door, or is named here with the reason why it needs no more."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


_WRITES = {
    "write_text", "write_bytes", "mkstemp", "NamedTemporaryFile", "TemporaryFile", "TemporaryDirectory", "mkdtemp",
    "save", "save_file", "copy", "copy2", "copyfile", "copytree", "move", "rename", "replace", "symlink_to",
    "hardlink_to", "extractall", "extract", "unpack_archive", "savez", "tofile", "dump", "to_csv",
}  # fmt: skip
_OWNERS = {
    "torch",
    "onnx",
    "shutil",
    "os",
    "np",
    "numpy",
    "json",
    "pickle",
    "yaml",
    "tempfile",
    "path",
    "small",
    "sheet",
}
_PROVEN = {
    ("export/check/assets/check.py", ".write_text"): "runs on the device, into the file that its user names",
    ("genq_export/models/description.py", "workspace.write_bytes"): "write_atomic",
    ("export/check/write.py", "workspace.write_bytes"): "write_atomic",
    ("genq_export/cli/app.py", "open"): "of the null device",
    ("genq_export/core/build_log.py", "open"): "appended to, and not through a link",
    ("genq_export/core/workspace.py", "self.write_bytes"): "write_atomic",
    ("calibrate/contact_sheet.py", "sheet.save"): "into memory",
    ("calibrate/image_file.py", ".save"): "into memory",
    ("calibrate/sources/existing_set.py", "workspace.write_bytes"): "write_atomic",
    ("export/audit/onnxruntime.py", "tempfile.TemporaryDirectory"): "new, ours alone",
    ("export/run.py", "workspace.write_bytes"): "write_atomic",
    ("genq_export/cli/options_table.py", "place.write_text"): "a page of the source tree, by its author",
    ("genq_export/core/workspace.py", "os.replace"): "write_atomic itself",
    ("genq_export/core/workspace.py", "open"): "write_atomic itself: exclusively, so never through a link",
    ("calibrate/sources/own_images.py", "workspace.write_bytes"): "write_atomic",
    ("genq_export/data/decode.py", ".save"): "into memory",
    ("genq_export/data/webdataset.py", "tempfile.TemporaryFile"): "has no name",
    ("genq_export/pipeline/build.py", "workspace.write_bytes"): "write_atomic",
    ("genq_export/pipeline/build.py", ".write_bytes"): "write_atomic",
    ("genq_export/pipeline/package/float_model.py", "tempfile.TemporaryDirectory"): "new, ours alone",
    ("genq_export/pipeline/quantize.py", "tempfile.mkdtemp"): "new, ours alone",
    ("genq_export/pipeline/quantized.py", "shutil.copytree"): "into a new folder, ours alone, that is then moved",
    ("genq_export/pipeline/quantized.py", "tempfile.TemporaryDirectory"): "new, ours alone",
    ("genq_export/pipeline/tune/ship.py", "shutil.copytree"): "from our own folder into one that was not there",
    ("genq_export/quantization/activation_cache.py", "tempfile.TemporaryFile"): "has no name, or one for a moment",
    ("genq_export/runtimes/isolation/process.py", "tempfile.TemporaryFile"): "has no name",
    ("genq_export/serve/certificate.py", "path.write_bytes"): "in a new folder, ours alone",
    ("genq_export/serve/certificate.py", "tempfile.TemporaryDirectory"): "new, ours alone",
    ("runtime_tests/qdq_file/session.py", ".write_bytes"): "in a new folder, ours alone",
    ("runtime_tests/qdq_file/session.py", "tempfile.TemporaryDirectory"): "new, ours alone",
    ("runtime_tests/report/render/html.py", "small.save"): "into memory",
    ("runtime_tests/verify/answer_sheet.py", "sheet.save"): "into memory",
    ("runtime_tests/verify/run.py", "workspace.write_bytes"): "write_atomic",
    ("export/companions.py", "tempfile.TemporaryDirectory"): "new, ours alone",
    ("export/companions.py", "workspace.write_bytes"): "write_atomic",
    ("runtime_tests/report/schema.py", "SCHEMA_FILE.write_text"): "a file of the source tree, by its author",
    ("runtime_tests/report/stage.py", "workspace.write_bytes"): "write_atomic",
    ("runtime_tests/verify/diagnosis/case.py", "path.write_bytes"): "in a new folder, ours alone",
    ("runtime_tests/verify/diagnosis/case.py", "tempfile.TemporaryDirectory"): "new, ours alone",
    ("runtime_tests/verify/diagnosis/pair_sums.py", "onnx.save"): "in a new folder, ours alone",
    ("runtime_tests/verify/diagnosis/pair_sums.py", "tempfile.TemporaryDirectory"): "new, ours alone",
    ("runtime_tests/verify/diagnosis/probe_effect.py", "path.write_bytes"): "in a new folder, ours alone",
    ("runtime_tests/verify/diagnosis/probe_effect.py", "tempfile.TemporaryDirectory"): "new, ours alone",
    ("runtime_tests/verify/lineage.py", "tempfile.TemporaryDirectory"): "new, ours alone",
    ("runtime_tests/verify/speed.py", "tempfile.TemporaryDirectory"): "new, ours alone",
}


def writers(source: str) -> set[str]:
    """Calls in a Python source that may write a file, as `owner.name`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        mode = next((word.value for word in node.keywords if word.arg == "mode"), None)
        mode = mode or next((word for word in node.args[:2] if isinstance(word, ast.Constant)), None)
        opens = (
            isinstance(mode, ast.Constant)
            and set(str(mode.value)) <= set("rwaxb+t")
            and set("wax+") & set(str(mode.value))
        )
        match node.func:
            case ast.Name(id="open") if opens:
                found.add("open")
            case ast.Attribute(attr="open", value=value) if opens:
                found.add(f"{ast.unparse(value)}.open")
            case ast.Attribute(attr=name, value=ast.Name(id=owner)) if name in _WRITES:
                if name == "replace" and len(node.args) > 1 and owner != "os":  # of text
                    continue
                if owner in _OWNERS or name.startswith("write_") or owner.isupper():
                    found.add(f"{owner}.{name}")
            case ast.Attribute(attr=name) if name in {"write_text", "write_bytes", "save", "save_pretrained"}:
                found.add(f".{name}")
    return found


@pytest.mark.parametrize("package", ["calibrate", "export", "genq_export", "runtime_tests"])
def test_every_writer_goes_through_one_door_or_is_known(package: str) -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), call)
        for path in (ROOT / package).rglob("*.py")
        for call in writers(path.read_text())
    }
    unknown = found - _PROVEN.keys()
    assert not unknown, f"write with core.workspace.write_atomic, or say here why not: {sorted(unknown)}"
