"""The learned style token, and the real images it is learned from."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from calibrate import run
from calibrate.generators import Generator
from calibrate.preflight import problems
from calibrate.prompts import STYLE_SUFFIX, STYLE_TOKEN
from calibrate.reference_images import ReferenceImages, merge
from calibrate.sources.diffusers_images import load_diffusers_images
from calibrate.style import add_token, base_identity, load_style, save_style, set_embedding
from calibrate.textual_inversion import (
    Inversion,
    denoising_loss,
    encode,
    learn_style,
    replaced_embedding,
    starting_point,
    training_schedule,
)
from calibrate.token_limit import fits
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.data.calibration_set import read_rows
from genq_export.models.loaded import LoadedModel
from tests.calibrate.conftest import CLASS_NAMES, build_pipeline
from tests.calibrate.pipelines import remedy

Make = Callable[..., BuildConfig]
PROMPTS = [f"a photo of a {name}{STYLE_SUFFIX}" for name in CLASS_NAMES]


@pytest.fixture
def pipeline(pipeline_folder: Path, make_config: Make) -> Any:
    return load_diffusers_images(Generator("tiny_sd", pipeline_folder), make_config().calibrate, "cpu").pipeline


@pytest.fixture
def real(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for label, name in enumerate(CLASS_NAMES):
        (tmp_path / "real" / name).mkdir(parents=True)
        pixels = rng.integers(0, 255, (20 + label, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "real" / name / "0.png")
    return tmp_path / "real"


def paths_of(real: Path) -> list[Path]:
    return [real / name / "0.png" for name in CLASS_NAMES]


def learn(pipeline: Any, real: Path, state: Path, steps: int = 6, **more: Any) -> torch.Tensor:
    return learn_style(
        pipeline, paths_of(real), PROMPTS, Inversion(steps, 4, 16, seed=0), state, checkpoint_every=2, **more
    )


def test_learning_moves_the_token_and_nothing_else(pipeline: Any, real: Path, tmp_path: Path) -> None:
    before = {name: weight.clone() for name, weight in pipeline.unet.state_dict().items()}
    table = pipeline.text_encoder.get_input_embeddings().weight.detach().clone()
    embedding = learn(pipeline, real, tmp_path / "state")
    assert all(torch.equal(before[name], weight) for name, weight in pipeline.unet.state_dict().items())
    after = pipeline.text_encoder.get_input_embeddings().weight
    assert torch.equal(after[: len(table)], table) and len(after) == len(table) + 1
    start = table[pipeline.tokenizer("style", add_special_tokens=False).input_ids[0]]
    assert embedding.shape == start.shape and not torch.equal(embedding, start)


def test_the_loss_goes_down(pipeline: Any, real: Path, tmp_path: Path) -> None:
    settings = Inversion(40, 4, 16, seed=0)
    mean, std = encode(pipeline, paths_of(real), 16)
    number, schedule = add_token(pipeline), training_schedule(pipeline)

    @torch.no_grad()
    def loss(embedding: torch.Tensor) -> float:
        """Over noise that learning did not see."""
        with replaced_embedding(pipeline, number, embedding):
            steps = range(1000, 1100)
            losses = [denoising_loss(pipeline, schedule, mean, std, PROMPTS, settings, step) for step in steps]
        return float(torch.stack(losses).mean())

    before = loss(starting_point(pipeline))
    assert loss(learn(pipeline, real, tmp_path / "state", steps=40)) < before


def test_an_interrupted_run_ends_with_the_same_token(pipeline: Any, real: Path, tmp_path: Path) -> None:
    whole = learn(pipeline, real, tmp_path / "one")

    class Killed(Exception):
        pass

    def die_after_three(steps: Iterator[int], _: int) -> Iterator[int]:
        yield from islice(steps, 3)
        raise Killed

    with pytest.raises(Killed):
        learn(pipeline, real, tmp_path / "two", track=die_after_three)
    taken: list[int] = []

    def count(steps: Iterator[int], _: int) -> Iterator[int]:
        for step in steps:
            taken.append(step)
            yield step

    assert torch.equal(learn(pipeline, real, tmp_path / "two", track=count), whole)
    assert taken == [2, 3, 4, 5]
    learn(pipeline, real, tmp_path / "two", steps=4, track=count)
    assert taken[4:] == [0, 1, 2, 3], "the state of other settings is not gone on with"


def test_the_file_is_textual_inversion_and_comes_back(pipeline: Any, tmp_path: Path, pipeline_folder: Path) -> None:
    from diffusers import StableDiffusionPipeline

    path, embedding = tmp_path / "style.safetensors", torch.randn(16)
    save_style(path, embedding, pipeline, "tiny_sd", "3 real images")
    set_embedding(pipeline, embedding)
    assert torch.equal(load_style(path, pipeline), embedding[None]), (
        "known although the token is already in the tokenizer"
    )
    with safe_open(path, framework="pt") as file:
        assert list(file.keys()) == [STYLE_TOKEN] and file.metadata()["base_model"] == "tiny_sd"
    fresh = StableDiffusionPipeline.from_pretrained(pipeline_folder)
    fresh.load_textual_inversion(str(path))
    number = fresh.tokenizer.convert_tokens_to_ids(STYLE_TOKEN)
    assert torch.equal(fresh.text_encoder.get_input_embeddings().weight[number], embedding)


def test_a_token_of_another_base_model_is_refused(pipeline: Any, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    other = StableDiffusionPipeline.from_pretrained(build_pipeline(tmp_path / "other", seed=7))
    assert base_identity(other) != base_identity(pipeline)
    save_style(tmp_path / "style.safetensors", torch.randn(16), other, "other_sd", "3 real images")
    with pytest.raises(UserError, match=r"another base model \(other_sd\).*--real DIR"):
        load_style(tmp_path / "style.safetensors", pipeline)


def test_files_that_are_no_style_token(pipeline: Any, tmp_path: Path) -> None:
    path = tmp_path / "style.safetensors"
    save_file({"<x>": torch.randn(24)}, path)
    with pytest.raises(UserError, match="has 24 dimensions, the text encoder of the generator has 16"):
        load_style(path, pipeline)
    save_file({"a": torch.randn(16), "b": torch.randn(16)}, path)
    with pytest.raises(UserError, match="is not a style token"):
        load_style(path, pipeline)
    path.write_bytes(b"no")
    with pytest.raises(UserError, match="cannot read style token"):
        load_style(path, pipeline)
    save_file({"<elsewhere>": torch.ones(1, 16)}, path)
    assert torch.equal(load_style(path, pipeline), torch.ones(1, 16)), (
        "learned elsewhere, unstamped, of the right width"
    )


@pytest.mark.parametrize("vectors", [1, 3])
def test_embeddings_as_the_web_ui_saves_them(vectors: int, pipeline: Any, tmp_path: Path) -> None:
    path, rows = tmp_path / "style.safetensors", torch.randn(vectors, 16)
    save_file({"emb_params": rows, "step": torch.tensor([3])}, path)
    embedding = load_style(path, pipeline)
    assert torch.equal(embedding, rows)
    set_embedding(pipeline, embedding)
    prompt = pipeline.maybe_convert_prompt(PROMPTS[0], pipeline.tokenizer)
    ids = torch.tensor(pipeline.tokenizer(prompt).input_ids)
    table = pipeline.text_encoder.get_input_embeddings().weight
    assert torch.equal(table[ids[-1 - vectors : -1]], rows), "one behind another, in front of the end"
    limit = 32 - 2 - len(PROMPTS[0].split()) + 1 - vectors
    fit = fits(pipeline)
    assert fit("a " * limit + PROMPTS[0]) and not fit("a " * (limit + 1) + PROMPTS[0])


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"clip_l": torch.ones(2, 768), "clip_g": torch.ones(2, 1280)}, "two text encoders"),
        ({"emb_params": torch.ones(2, 24)}, "has 24 dimensions"),
        ({"emb_params": torch.full((2, 16), torch.nan)}, "not finite"),
        ({"emb_params": torch.ones(1, 2, 16)}, "is not a style token"),
        ({"emb_params": torch.ones(2, 16, dtype=torch.int64)}, "is not a style token"),
    ],
)
def test_embeddings_that_mean_nothing_here(
    tensors: dict[str, torch.Tensor], words: str, pipeline: Any, tmp_path: Path
) -> None:
    save_file(tensors, tmp_path / "style.safetensors")
    with pytest.raises(UserError, match=words):
        load_style(tmp_path / "style.safetensors", pipeline)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("web-ui.pt", {"string_to_token": {"*": 265}, "string_to_param": {"*": torch.ones(2, 16)}, "step": 5}),
        ("diffusers.bin", {"<x>": torch.ones(16)}),
    ],
)
def test_pickled_embeddings_are_refused_and_the_conversion_works(
    name: str, content: dict[str, Any], pipeline: Any, tmp_path: Path, make_config: Make
) -> None:
    torch.save(content, tmp_path / name)
    said = [problem for problem in problems(make_config(style=tmp_path / name)) if "pickle" in problem]
    with pytest.raises(UserError, match="is a pickle") as error:
        load_style(tmp_path / name, pipeline)
    assert said == [str(error.value)]
    subprocess.run(remedy(said[0]), check=True, cwd=tmp_path)
    assert torch.equal(load_style(tmp_path / "NEW.safetensors", pipeline), torch.ones(2 if "ui" in name else 1, 16))


def test_half_precision_is_the_same_base_model(pipeline: Any) -> None:
    before = base_identity(pipeline)
    pipeline.to(dtype=torch.float16)
    assert base_identity(pipeline) == before


def test_a_set_from_few_real_images(tmp_path: Path, make_config: Make, convnet: LoadedModel, real: Path) -> None:
    config = make_config(real=real, inversion_steps=2)
    result = run.run(Workspace.open(tmp_path / "b"), config, convnet, Progress(quiet=True))
    rows = read_rows(tmp_path / "b" / "calibration")
    joined = [row for row in rows if row.seed is None]
    assert {row.class_name for row in joined} == set(CLASS_NAMES) and len(joined) == 3
    assert sum(row.kept for row in rows) == 9 and all(row.kept for row in joined)
    assert all(row.prompt.endswith(STYLE_SUFFIX) for row in rows if row.seed is not None)
    assert "calibration/style.safetensors" in result.outputs and result.summary["real"] == 3
    first = np.asarray(Image.open(tmp_path / "b" / "calibration" / joined[0].file_name))
    assert any(np.array_equal(first, np.asarray(Image.open(path))) for path in paths_of(real))

    style = tmp_path / "b" / "calibration" / "style.safetensors"
    again = make_config(style=style)
    run.run(Workspace.open(tmp_path / "c"), again, convnet, Progress(quiet=True))
    other = {row.file_name: row.seed for row in read_rows(tmp_path / "c" / "calibration")}
    assert all(other[row.file_name] == row.seed for row in rows if row.seed is not None)


def test_real_images_can_stay_out(tmp_path: Path, make_config: Make, convnet: LoadedModel, real: Path) -> None:
    config = make_config(real=real, inversion_steps=1, join_real=False)
    run.run(Workspace.open(tmp_path / "b"), config, convnet, Progress(quiet=True))
    assert all(row.seed is not None for row in read_rows(tmp_path / "b" / "calibration"))


def test_one_damaged_real_image_is_named(tmp_path: Path, make_config: Make, convnet: LoadedModel, real: Path) -> None:
    (real / "bag" / "0.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match="1 of 3 images"):
        run.run(Workspace.open(tmp_path / "b"), make_config(real=real), convnet, Progress(quiet=True))


def test_real_images_of_every_mode_and_size(
    tmp_path: Path, make_config: Make, convnet: LoadedModel, real: Path
) -> None:
    shutil.rmtree(real)
    real.mkdir()
    Image.new("CMYK", (40, 30), (10, 200, 30, 0)).save(real / "cmyk.jpg")
    Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20) * 160).save(real / "sixteen.png")
    frames = [Image.new("P", (8, 8), colour) for colour in (3, 200)]
    frames[0].save(real / "animated.gif", save_all=True, append_images=frames[1:])
    Image.new("RGBA", (5, 50), (1, 2, 3, 128)).save(real / "alpha.png")
    config = make_config(real=real, inversion_steps=1)
    run.run(Workspace.open(tmp_path / "b"), config, convnet, Progress(quiet=True))
    rows = read_rows(tmp_path / "b" / "calibration")
    assert sum(row.label is None for row in rows) == 4 and sum(row.kept for row in rows) == 9


def test_real_images_take_places_of_their_class() -> None:
    real = ReferenceImages(tuple(Path(str(n)) for n in range(4)), (0, 0, 0, 1))
    chosen, quota = merge(real, images=6, classes=3)
    assert chosen.labels == (0, 0, 1) and quota == [0, 1, 2]
    unlabelled = ReferenceImages(real.images, (None,) * 4)
    assert merge(unlabelled, 3, 3) == (ReferenceImages(real.images[:3], (None,) * 3), [0, 0, 0])
