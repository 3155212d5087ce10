"""Nothing outside the folder is written, and nothing in it that is not ours: names, links, races, full disks."""

import ast
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from calibrate.image_file import write_image
from calibrate.own_files import OwnFiles, refuse_foreign_images
from calibrate.pipeline_files import folder_problem
from calibrate.sources.existing_set import EXISTING_SET
from genq_export.config.build import BuildConfig
from genq_export.config.model import ModelConfig
from genq_export.core.errors import BusyError, UserError
from genq_export.core.paths import LONGEST_NAME, inside, refuse_links, refuse_links_out, relative_name
from genq_export.core.progress import Progress
from genq_export.core.walk import entries_below
from genq_export.core.workspace import StageResult, Workspace, sha256, write_atomic
from genq_export.data.calibration_set import kept_images, read_rows
from genq_export.data.digests import source_digest
from genq_export.models.source import load_model
from genq_export.pipeline.build import run_stages
from genq_export.pipeline.plan import plan

QUIET = Progress(quiet=True)
ROOT = Path(__file__).parents[2]
# What no name in a file may be, by kind.
BAD_NAMES = {
    "up": "../X.png",
    "up two": "../../X.png",
    "up in the middle": "images/../../X.png",
    "up and back": "images/../images/X.png",
    "absolute": "/tmp/X.png",
    "two slashes": "//tmp/X.png",
    "empty": "",
    "the folder": ".",
    "backslash": "..\\X.png",
    "drive": "C:\\X.png",
    "NUL": "images/a\0.png",
    "escape": "images/\x1b[2J.png",
    "new line": "images/a\nb.png",
    "C1": "images/\x9b2J.png",
    "half a pair": "images/\ud800.png",
    "long": f"images/{'x' * 300}.png",
    "long in bytes": f"images/{'ü' * 200}.png",
    "deep": "a/" * 600 + "X.png",
}
GOOD_NAMES = (
    "a",
    "images/000000.png",
    "images/ein Bild.png",
    "ü/日本.png",
    "x" * LONGEST_NAME,
    "...",
    "..a",
    ".hidden",
)


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=list(BAD_NAMES))
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError):
        relative_name(name)
    with pytest.raises(UserError) as caught:
        inside(tmp_path, name)
    said = str(caught.value)
    assert "\n" not in said and "\x1b" not in said and len(said) < 400
    said.encode()


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_name_of_a_file_in_the_folder_is_taken(tmp_path: Path, name: str) -> None:
    assert inside(tmp_path, name) == tmp_path / name


@given(st.text(st.sampled_from("./\\a\0~ü"), max_size=12))
def test_what_is_taken_lies_below(name: str) -> None:
    folder = Path("/nowhere/at/all")
    try:
        place = inside(folder, name)
    except UserError:
        return
    assert os.path.normpath(place).startswith(f"{folder}/")


def make_set(folder: Path, *names: str) -> Path:
    """A calibration set whose list names these; the images are there where they can be."""
    (folder / "images").mkdir(parents=True)
    Image.new("RGB", (4, 4), "red").save(folder / "images" / "0.png")
    row = {
        "label": None, "class_name": None, "second_class": None, "prompt": "", "seed": None, "kept": True,
        "reason": "kept",
    }  # fmt: skip
    lines = [json.dumps({"file_name": name, **row}) for name in ("images/0.png", *names)]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def with_set(folder: Path) -> BuildConfig:
    return BuildConfig.for_model("fashion_resnet", preset="quick").changed("quantize", {"calibration_set": folder})


def everything(folder: Path) -> dict[str, tuple[str, int] | str | None]:
    """All there is below a folder, with contents and times."""
    found: dict[str, tuple[str, int] | str | None] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = (sha256(path), path.stat().st_mtime_ns) if path.is_file() else None
    return found


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=list(BAD_NAMES))
def test_a_set_whose_list_leads_out_is_refused_and_nothing_written(tmp_path: Path, name: str) -> None:
    given_set = make_set(tmp_path / "a" / "b" / "set", name)
    for place in (tmp_path / "a" / "b", tmp_path / "a"):
        Image.new("RGB", (4, 4)).save(place / "X.png")
    before = everything(tmp_path)
    (problem,) = EXISTING_SET.problems(with_set(given_set), tmp_path)
    assert "metadata.jsonl, line 2, is not a row" in problem
    with pytest.raises(UserError):
        run_stages(with_set(given_set), tmp_path / "out" / "build", ("calibrate",), QUIET)
    assert everything(tmp_path) == before
    workspace = Workspace.open(tmp_path / "out" / "build")
    made = everything(tmp_path)
    with pytest.raises(UserError):
        EXISTING_SET.take_over(workspace, with_set(given_set), load_model(ModelConfig(name="fashion_resnet")), QUIET)
    assert everything(tmp_path) == made


@pytest.mark.parametrize(
    "row", ["[]", "1", "{}", "nonsense", '{"file_name": 3}', '{"file_name": "a", "kept": 1}', "[" * 9999]
)
def test_a_row_that_is_none_is_named_by_its_line(tmp_path: Path, row: str) -> None:
    folder = make_set(tmp_path / "set")
    with (folder / "metadata.jsonl").open("a") as handle:
        handle.write(row + "\n")
    with pytest.raises(UserError, match=r"metadata\.jsonl, line 2, is not a row"):
        read_rows(folder)


@pytest.mark.parametrize("key", ["file_name", "label", "class_name", "prompt", "seed", "kept", "reason", "energy"])
def test_a_column_of_another_kind_is_refused(tmp_path: Path, key: str) -> None:
    folder = make_set(tmp_path / "set")
    columns = json.loads((folder / "metadata.jsonl").read_text()) | {key: {"of": "another kind"}}
    (folder / "metadata.jsonl").write_text(json.dumps(columns) + "\n")
    with pytest.raises(UserError, match="line 1, is not a row"):
        read_rows(folder)


# Links: in a build folder and in a set none, whatever they lead to.


@pytest.fixture
def build(tmp_path: Path) -> Workspace:
    opened = Workspace.open(tmp_path / "home" / "build")
    opened.write_bytes("calibration/images/000000.png", b"content")
    opened.record(
        "calibrate", "identity", StageResult(["calibration/images/000000.png"], {"generator": "g", "kept": 1}), 1
    )
    return opened


Plant = Callable[[Path, Path], None]


def _file(place: Path, outside: Path) -> None:
    place.symlink_to(outside / "file")


def _folder(place: Path, outside: Path) -> None:
    place.symlink_to(outside, target_is_directory=True)


def _dangling(place: Path, outside: Path) -> None:
    place.symlink_to(outside / "not there")


def _circle(place: Path, outside: Path) -> None:
    place.symlink_to(place)


def _fifo(place: Path, outside: Path) -> None:
    os.mkfifo(place)


@pytest.mark.parametrize("plant", [_file, _folder, _dangling, _circle, _fifo])
@pytest.mark.parametrize(
    "name",
    [
        ".lock", ".report.json.part", "report.json", "model.onnx", "calibration/images/1.png", "partial", "config.yaml",
        "report.html", "calibration/style.safetensors", "anything",
    ],
)  # fmt: skip
def test_a_build_folder_with_links_in_it_is_refused(build: Workspace, tmp_path: Path, name: str, plant: Plant) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("theirs")
    place = build.folder / name
    place.unlink(missing_ok=True)
    plant(place, outside)
    before = everything(tmp_path)
    for use in (Workspace.open, Workspace.existing, lambda folder: Workspace(folder).locked().__enter__()):
        with pytest.raises(UserError, match=r"holds a link, |neither a file nor a folder"):
            use(build.folder)
    assert everything(tmp_path) == before


def test_a_folder_replaced_by_a_link_is_not_written_through(build: Workspace, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (build.folder / "calibration").rename(outside)
    (build.folder / "calibration").symlink_to(outside)
    before = everything(tmp_path)
    with pytest.raises(UserError, match="holds a link"):
        build.write_bytes("calibration/images/000000.png", b"new")
    with pytest.raises(UserError, match="holds a link"):
        build.is_fresh("calibrate", "identity")
    assert everything(tmp_path) == before


def test_a_build_folder_behind_a_link_of_the_users_is_taken(build: Workspace, tmp_path: Path) -> None:
    link = tmp_path / "mine"
    link.symlink_to(build.folder)
    assert Workspace.existing(link).is_fresh("calibrate", "identity")
    with Workspace.open(link).locked():
        Workspace(link).write_bytes("report.json", b"{}")
    assert (build.folder / "report.json").read_bytes() == b"{}" and link.is_symlink()


@pytest.mark.parametrize("name", ["metadata.jsonl", "images", "images/0.png"])
def test_a_set_with_links_in_it_is_refused(tmp_path: Path, name: str) -> None:
    folder = make_set(tmp_path / "set")
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    (problem,) = EXISTING_SET.problems(with_set(folder), tmp_path)
    assert "holds a link" in problem
    with pytest.raises(UserError, match="holds a link"):
        kept_images(folder)


def test_a_build_whose_set_is_a_link_is_no_source(tmp_path: Path) -> None:
    make_set(tmp_path / "elsewhere")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "calibration").symlink_to(tmp_path / "elsewhere")
    (problem,) = EXISTING_SET.problems(with_set(tmp_path / "build"), tmp_path)
    assert "holds a link, 'calibration'" in problem


def test_the_hubs_cache_may_link_within_a_repository(tmp_path: Path) -> None:
    home = tmp_path / "models--a--b"
    snapshot = home / "snapshots" / "0123"
    (home / "blobs").mkdir(parents=True)
    (snapshot / "unet").mkdir(parents=True)
    (home / "blobs" / "abc").write_text("{}")
    (snapshot / "unet" / "config.json").symlink_to("../../../blobs/abc")
    refuse_links_out(snapshot, home)
    (tmp_path / "secret").write_text("{}")
    (snapshot / "model_index.json").symlink_to("../../../secret")
    with pytest.raises(UserError, match=r"leads out of .*model_index\.json"):
        refuse_links_out(snapshot, home)


def test_a_link_out_is_found_in_a_hidden_folder_too(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "snapshot" / ".hidden").mkdir(parents=True)
    (tmp_path / "secret").write_text("{}")
    (home / "snapshot" / ".hidden" / "config.json").symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match=r"leads out of .*config\.json"):
        refuse_links_out(home / "snapshot", home)


def test_links_in_folders_of_images_are_followed_once(tmp_path: Path) -> None:
    shoes = tmp_path / "set" / "shoe"
    shoes.mkdir(parents=True)
    (shoes / "1.png").write_bytes(b"1")
    far = tmp_path / "far"
    far.mkdir()
    (far / "2.png").write_bytes(b"2")
    (tmp_path / "set" / "bag").symlink_to(far)
    (tmp_path / "set" / "again").symlink_to(far)
    (far / "back").symlink_to(tmp_path / "set")
    (shoes / "round").symlink_to(shoes)
    (tmp_path / "set" / "nowhere").symlink_to(tmp_path / "not there")
    found = {str(path.relative_to(tmp_path / "set")): entry for path, entry in entries_below(tmp_path / "set")}
    assert [name for name, entry in found.items() if entry is False] == ["shoe/1.png", "again/2.png"]
    assert {name: entry for name, entry in found.items() if isinstance(entry, str)} == {
        "nowhere": "broken link",
        "bag": "link to a folder read already",
        "shoe/round": "link to a folder read already",
        "again/back": "link to a folder read already",
    }
    before = source_digest(tmp_path / "set")
    (far / "2.png").write_bytes(b"changed")
    assert source_digest(tmp_path / "set") != before


# Pipelines: the index names folders beside it.


def index(folder: Path, **parts: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    usual = {"text_encoder": ["t", "CLIPTextModel"], "tokenizer": ["t", "CLIPTokenizer"], "scheduler": ["d", "DDIM"]}
    content = {
        "_class_name": "StableDiffusionPipeline",
        **parts,
        **{name: usual[name] for name in usual.keys() - parts},
    }
    (folder / "model_index.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("name", ["../text_encoder", "/etc", "text_encoder/..", "text_encoder/a", "", "a\0", "t\\e"])
def test_a_component_that_is_no_folder_beside_the_index_is_refused(tmp_path: Path, name: str) -> None:
    problem = folder_problem(index(tmp_path, **{name: ["transformers", "CLIPTextModel"]}))
    assert problem is not None and "names a component" in problem


@pytest.mark.parametrize("value", [[], [None], ["a"], [1, 2], [["a"], "b"], "text", 3, {"a": 1}])
def test_a_component_of_another_kind_is_none(tmp_path: Path, value: object) -> None:
    problem = folder_problem(index(tmp_path, text_encoder=value))
    assert problem is not None and "without text_encoder" in problem


@pytest.mark.parametrize("name", ["../../x.safetensors", "/etc/passwd", "", 3, None])
def test_weights_that_lie_elsewhere_are_refused(tmp_path: Path, name: object) -> None:
    part = index(tmp_path, text_encoder=["transformers", "CLIPTextModel"]) / "text_encoder"
    part.mkdir()
    (part / "model.safetensors").write_bytes(b"")
    (part / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"weight": name}}))
    problem = folder_problem(tmp_path)
    assert problem is not None and "cannot lie beside it" in problem


# What we did not write.


@pytest.mark.parametrize("name", ["holiday.jpg", "000000.png", "000777.png", "notes", "real_000000.png"])
def test_a_users_own_file_among_the_images_stops_the_command_before_anything_changes(tmp_path: Path, name: str) -> None:
    workspace = Workspace.open(tmp_path / "build")
    images = workspace.folder / "calibration" / "images"
    images.mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(images / name, "png")
    before = everything(tmp_path)
    with pytest.raises(UserError, match=f"did not write: {name}"):
        run_stages(BuildConfig.for_model("fashion_resnet", preset="quick"), workspace.folder, ("calibrate",), QUIET)
    assert everything(tmp_path) == before


def test_what_we_wrote_is_known_by_text_by_list_and_by_name(tmp_path: Path) -> None:
    import numpy as np

    workspace = Workspace.open(tmp_path / "build")
    images = workspace.folder / "calibration" / "images"
    make_set(workspace.folder / "calibration", "images/1.png")
    (images / "1.png").write_bytes(b"damaged")
    (images / "2.png").write_bytes(b"listed in the manifest")
    workspace.record("calibrate", "i", StageResult(["calibration/images/2.png"]), 1)
    write_image(images / "3.png", np.zeros((4, 4, 3), np.uint8), {})
    (images / ".4.png.part").write_bytes(b"half")
    (images / ".DS_Store").write_bytes(b"of the system")
    refuse_foreign_images(workspace)
    assert not OwnFiles.of(workspace).hold(images / ".DS_Store")


def test_work_that_is_unfinished_goes_and_what_a_user_keeps_beside_it_stays(tmp_path: Path) -> None:
    folder = tmp_path / "build"
    Workspace.open(folder)
    for name in ("0123456789abcdef/block_000.safetensors", "mine.txt"):
        place = folder / "partial" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"x")
    run_stages(with_set(make_set(tmp_path / "set")), folder, ("calibrate",), QUIET)
    assert [path.name for path in (folder / "partial").iterdir()] == ["mine.txt"]


# Neighbours: a build beside this one gives its set, and nothing else.


def neighbour_of(folder: Path, change: Callable[[Workspace, str], None]) -> None:
    """Build a set in a folder beside, and change it."""
    config = with_set(make_set(folder.parent / "set"))
    beside = folder.parent / "beside"
    run_stages(config, beside, ("calibrate",), QUIET)
    workspace = Workspace(beside)
    change(workspace, workspace.finished("calibrate").fingerprint)


def _another_file(workspace: Workspace, identity: str) -> None:
    outputs = ["config.yaml", *workspace.output_hashes("calibrate")]
    workspace.record("calibrate", identity, StageResult(outputs, workspace.summary("calibrate")), 1)


def _damaged_summary(workspace: Workspace, identity: str) -> None:
    workspace.record("calibrate", identity, StageResult(list(workspace.output_hashes("calibrate")), {"no": 1}), 1)


def _linked(workspace: Workspace, identity: str) -> None:
    images = workspace.folder / "calibration" / "images"
    images.rename(workspace.folder / "away")
    images.symlink_to(workspace.folder / "away")


def _damaged_manifest(workspace: Workspace, identity: str) -> None:
    (workspace.folder / "manifest.json").write_text('{"version": 1, "stages": 3}')


def _untouched(workspace: Workspace, identity: str) -> None:
    pass


@pytest.mark.parametrize("change", [_untouched, _another_file, _damaged_summary, _linked, _damaged_manifest])
def test_a_neighbour_gives_its_set_or_is_passed_over(
    tmp_path: Path, change: Callable[[Workspace, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "builds" / "build"
    neighbour_of(folder, change)
    run_stages(with_set(folder.parent / "set"), folder, ("calibrate",), Progress())
    assert ("copied from there" in capsys.readouterr().err) == (change is _untouched)
    config = (folder / "config.yaml").read_text()
    assert "calibration_set" in config and (folder / "calibration" / "images" / "0.png").is_file()


# Where the folder is to be, and what the operating system says in the middle.


def _no_folder(kind: str, tmp_path: Path) -> Path:
    link = tmp_path / "link"
    match kind:
        case "dangling":
            link.symlink_to(tmp_path / "not there")
        case "looping":
            link.symlink_to(link)
        case "below a dangling one":
            link.symlink_to(tmp_path / "not there")
            return link / "build"
        case "a file":
            link.write_text("")
        case "below a file":
            link.write_text("")
            return link / "build"
        case "long":
            return tmp_path / ("x" * 300)
        case "NUL":
            return tmp_path / "a\0b"
    return link


@pytest.mark.parametrize(
    "kind", ["dangling", "looping", "below a dangling one", "a file", "below a file", "long", "NUL"]
)
def test_a_place_where_no_folder_can_be_is_one_line(tmp_path: Path, kind: str) -> None:
    folder = _no_folder(kind, tmp_path)
    config = BuildConfig.for_model("fashion_resnet", preset="quick")
    before = everything(tmp_path)
    for attempt in (
        lambda: Workspace.open(folder),
        lambda: run_stages(config, folder, ("calibrate",), QUIET),
        lambda: plan(config, folder),
    ):
        with pytest.raises(UserError) as caught:
            attempt()
        assert str(caught.value).startswith("output ") and "\n" not in str(caught.value)
        assert "-o" in str(caught.value)
    assert everything(tmp_path) == before


def test_of_two_that_start_together_the_loser_is_told_so(tmp_path: Path) -> None:
    for round_ in range(20):
        folder = tmp_path / str(round_)
        together, said = threading.Barrier(2), []

        def start(folder: Path = folder, together: threading.Barrier = together, said: list[object] = said) -> None:
            together.wait()
            try:
                with Workspace.open(folder).locked():
                    said.append("won")
                    together.wait(5)
            except BusyError as error:
                said.append(error)
                together.wait(5)
            except Exception as error:
                said.append(repr(error))
                together.wait(5)

        threads = [threading.Thread(target=start) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert "won" in said or all(isinstance(item, BusyError) for item in said), said
        assert all(item == "won" or isinstance(item, BusyError) for item in said), said


def test_a_folder_in_which_another_build_is_starting_is_busy(tmp_path: Path) -> None:
    first = Workspace.open(tmp_path / "build")
    with first.locked():
        first.path("manifest.json").unlink()  # not written yet
        (first.folder / ".manifest.json.part").write_bytes(b"half")
        with pytest.raises(BusyError, match="another build is writing"):
            Workspace.open(first.folder)
    assert Workspace.open(first.folder).read_manifest().stages == {}


def test_a_file_that_a_user_keeps_as_lock_is_not_emptied(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "build")
    (workspace.folder / ".lock").write_text("mine")
    with pytest.raises(UserError, match="not a lock of genq-export"), workspace.locked():
        pass
    assert (workspace.folder / ".lock").read_text() == "mine"


@pytest.mark.parametrize("code", [28, 13, 30, 122, 5, 27])
@pytest.mark.parametrize("call", ["os.fsync", "os.replace", "pathlib.Path.mkdir", "pathlib.Path.unlink"])
def test_what_the_system_refuses_in_the_middle_is_one_line_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    folder = tmp_path / "folder"
    write_atomic(folder / "a.bin", b"old")

    def refused(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(call, refused)
        with pytest.raises(UserError, match=f"cannot write to .*: {os.strerror(code)}"):
            write_atomic(folder / "a.bin", b"new")
    assert (folder / "a.bin").read_bytes() == b"old"
    assert [path.name for path in folder.iterdir() if not path.name.endswith(".part")] == ["a.bin"]
    write_atomic(folder / "a.bin", b"new")
    assert [path.name for path in folder.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("code", [13, 5, 36])
@pytest.mark.parametrize("call", ["os.scandir", "builtins.open", "pathlib.Path.read_bytes", "pathlib.Path.iterdir"])
def test_what_the_system_refuses_to_read_is_one_line(
    build: Workspace, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(call, refused)
        with pytest.raises(UserError, match=f"cannot read .*: {os.strerror(code)}"):
            Workspace.existing(build.folder).is_fresh("calibrate", "identity")


def test_what_is_refused_while_the_folder_is_held_says_what(build: Workspace) -> None:
    with pytest.raises(UserError, match=r"cannot go on in .*: No such file or directory \(.*gone\)"), build.locked():
        (build.folder / "gone").read_bytes()
    with build.locked():  # and the lock is free again
        pass


@pytest.mark.parametrize("code", [28, 30])
def test_a_disk_that_is_full_after_any_number_of_files_is_one_line_and_the_build_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    config = with_set(make_set(tmp_path / "set"))
    sync, failed = os.fsync, 0
    for number in range(20):
        folder, left = tmp_path / f"{code}-{number}" / "build", [number]

        def full(handle: int, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(code, os.strerror(code))
            sync(handle)

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            try:
                run_stages(config, folder, ("calibrate",), QUIET)
                break
            except UserError as error:
                assert str(error).startswith("cannot write to ") and os.strerror(code) in str(error)
                failed += 1
        assert not [path for path in folder.rglob("*") if path.name.endswith(".part")]
        run_stages(config, folder, ("calibrate",), QUIET)
        assert kept_images(folder / "calibration")
    assert failed >= 4  # the first manifest, the config, the set's list, its image, the manifest


def test_a_name_as_long_as_the_system_takes_is_written(tmp_path: Path) -> None:
    write_atomic(tmp_path / ("x" * LONGEST_NAME), b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["x" * LONGEST_NAME]


# Every other writer: what opens a file to write is named here with the reason why it needs no more.

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
    ("genq_export/quantize/activation_cache.py", "tempfile.TemporaryFile"): "has no name, or a new one for a moment",
    ("genq_export/runtimes/isolation/process.py", "tempfile.TemporaryFile"): "has no name",
    ("runtime_tests/report/render/html.py", "small.save"): "into memory",
    ("runtime_tests/report/schema.py", "SCHEMA_FILE.write_text"): "a file of the source tree, by its author",
    ("runtime_tests/report/stage.py", "workspace.write_bytes"): "write_atomic",
    ("runtime_tests/verify/diagnosis/case.py", "path.write_bytes"): "in a new folder, ours alone",
    ("runtime_tests/verify/diagnosis/case.py", "tempfile.TemporaryDirectory"): "new, ours alone",
    ("runtime_tests/verify/diagnosis/pair_sums.py", "onnx.save"): "in a new folder, ours alone",
    ("runtime_tests/verify/diagnosis/pair_sums.py", "tempfile.TemporaryDirectory"): "new, ours alone",
    ("runtime_tests/verify/diagnosis/probe_effect.py", "path.write_bytes"): "in a new folder, ours alone",
    ("runtime_tests/verify/diagnosis/probe_effect.py", "tempfile.TemporaryDirectory"): "new, ours alone",
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


def test_no_link_is_missed_below(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    refuse_links(tmp_path)
    (deep / "x").symlink_to("nowhere")
    with pytest.raises(UserError, match="holds a link, 'a/b/c/x'"):
        refuse_links(tmp_path)
