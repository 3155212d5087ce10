from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calibrate import run
from calibrate.prompts import Prompt, stable_integer
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace, sha256
from genq_export.data.calibration_set import kept_images, kept_labels, read_rows
from genq_export.models.loaded import LoadedModel

Make = Callable[..., BuildConfig]


def build(folder: Path, config: BuildConfig, model: LoadedModel) -> Path:
    result = run.run(Workspace.open(folder), config, model, Progress(quiet=True))
    assert all((folder / name).is_file() for name in result.outputs)
    return folder / "calibration"


def hashes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_set_holds_what_was_asked_for(tmp_path: Path, make_config: Make, convnet: LoadedModel) -> None:
    folder = build(tmp_path / "b", make_config(images=10), convnet)
    rows = read_rows(folder)
    assert sum(row.kept for row in rows) == 10 == len(kept_images(folder))
    assert sorted(Counter(kept_labels(folder)).values()) == [3, 3, 4]
    assert {row.reason for row in rows} >= {"kept", "distribution"}
    assert len({row.seed for row in rows}) == len(rows)
    assert all(row.class_name in row.prompt for row in rows)
    assert {path.name for path in (folder / "images").iterdir()} == {Path(row.file_name).name for row in rows}
    assert Image.open(folder / "contact_sheet.png").width > 1000
    assert "license: mit" in (folder / "README.md").read_text()


def test_the_second_run_draws_nothing_and_changes_nothing(
    tmp_path: Path, make_config: Make, convnet: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build(tmp_path / "b", make_config(), convnet)
    before = hashes(folder)
    monkeypatch.setattr("calibrate.sources.diffusers_images.DiffusersImages.draw", None)
    assert hashes(build(tmp_path / "b", make_config(), convnet)) == before


def test_what_was_lost_or_damaged_comes_back_byte_for_byte(
    tmp_path: Path, make_config: Make, convnet: LoadedModel
) -> None:
    folder = build(tmp_path / "b", make_config(), convnet)
    before = hashes(folder)
    images = folder / "images"
    (images / "000002.png").unlink()
    (images / "000006.png").write_bytes((images / "000006.png").read_bytes()[:200])
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(images / "000011.png")
    (images / ".000012.png.part").write_bytes(b"half")
    assert hashes(build(tmp_path / "b", make_config(), convnet)) == before


def test_other_settings_do_not_reuse_images_that_they_would_not_draw(
    tmp_path: Path, make_config: Make, convnet: LoadedModel
) -> None:
    build(tmp_path / "a", make_config(images=30), convnet)
    again = build(tmp_path / "a", make_config(steps=3), convnet)
    assert hashes(again) == hashes(build(tmp_path / "b", make_config(steps=3), convnet))


def test_filters_can_change_without_drawing_again(
    tmp_path: Path, make_config: Make, convnet: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path / "b", make_config(energy_keep=0.5, distribution_keep=0.8), convnet)
    monkeypatch.setattr("calibrate.sources.diffusers_images.DiffusersImages.draw", None)
    folder = build(tmp_path / "b", make_config(energy_keep=0.8, distribution_keep=0.5), convnet)
    assert Counter(row.reason for row in read_rows(folder))["distribution"] > 6


def test_flat_images_are_drawn_again_with_their_next_seed(
    tmp_path: Path, make_config: Make, convnet: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from calibrate.sources.diffusers_images import DiffusersImages

    draw, calls = DiffusersImages.draw, []

    def sometimes_flat(self: DiffusersImages, prompts: list[Prompt], seeds: list[int]) -> object:
        pixels, reasons = draw(self, prompts, seeds)
        calls.append(len(seeds))
        if len(calls) == 1:
            reasons = ["flat", *reasons[1:]]
        if len(calls) >= 3:
            reasons = ["flat"] * len(reasons)
        return pixels, reasons

    monkeypatch.setattr(DiffusersImages, "draw", sometimes_flat)
    folder = build(tmp_path / "b", make_config(images=2, batch_size=4, pool_limit=3), convnet)
    first, *_ = rows = read_rows(folder)
    assert first.seed == stable_integer(0, 0, "image", 1)
    assert calls[:2] == [4, 1]
    assert all(row.kept == (row.reason == "kept") for row in rows)


def test_none_kept_says_why(
    tmp_path: Path, make_config: Make, convnet: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"no image of \d+ drawn can be kept, .* energy above maximum"):
        build(tmp_path / "b", make_config(images=3, energy_max=-1e6, pool_limit=2), convnet)


def test_a_network_without_class_names_is_refused(tmp_path: Path, make_config: Make, convnet: LoadedModel) -> None:
    from dataclasses import replace

    with pytest.raises(UserError, match=r"no class names .*--classes"):
        build(tmp_path / "b", make_config(), replace(convnet, class_names=None))
    with pytest.raises(UserError, match="does not know the class name 'xylophone'"):
        build(tmp_path / "b", make_config(), replace(convnet, class_names=("shoe", "bag", "xylophone")))


def test_the_set_is_an_imagefolder(tmp_path: Path, make_config: Make, convnet: LoadedModel) -> None:
    datasets = pytest.importorskip("datasets")
    folder = build(tmp_path / "b", make_config(), convnet)
    found = datasets.load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(tmp_path / "cache"))["train"]
    assert len(found) == len(read_rows(folder)) and sum(found["kept"]) == 9
    assert found[0]["image"].size == (16, 16)


@pytest.mark.parametrize("prompts", ["class", "mixup"])
def test_a_network_of_one_class(tmp_path: Path, make_config: Make, convnet: LoadedModel, prompts: str) -> None:
    from dataclasses import replace

    single = replace(convnet, class_names=("bag",), classes=1)
    rows = read_rows(build(tmp_path / "b", make_config(images=4, prompts=prompts), single))
    assert sum(row.kept for row in rows) == 4 and {row.class_name for row in rows} == {"bag"}


def test_mixup_names_two_classes_in_metadata_and_prompt(
    tmp_path: Path, make_config: Make, convnet: LoadedModel
) -> None:
    for row in read_rows(build(tmp_path / "b", make_config(prompts="mixup"), convnet)):
        assert row.second_class is not None and row.second_class != row.class_name and row.second_class in row.prompt
