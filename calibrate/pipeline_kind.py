"""Which pipeline is this? Told by the class that `model_index.json` names, for plan and load alike. Free of torch."""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_TEXT_TO_IMAGE = "text to image"
# What an entry of diffusers' lists `AUTO_…_PIPELINES_MAPPING` does, by a word of the list's name; first match counts.
_TASKS = {
    "DECODER": "decoding what another pipeline drew",
    "TEXT2IMAGE": _TEXT_TO_IMAGE,
    "IMAGE2IMAGE": "image to image",
    "INPAINT": "inpainting",
    "VIDEO": "video",
    "AUDIO": "audio",
}
# Of those in diffusers' list of text to image, by a word of the name in that list, what takes or gives something else.
_NOT_FROM_TEXT_ALONE = {"control": "following a control image", "helios": "video"}
# Of classes in none of the lists, by a word of the class; first match counts.
_WORDS = {
    r"Video|Animate|Frames": "video",
    r"Audio|Music|Speech": "audio",
    r"Upscal|SuperResolution": "upscaling",
    r"Inpaint|Fill": "inpainting",
    r"Edit|Pix2Pix": "editing images",
    r"Img2Img|ImageTo|Image2Image|Depth2|ImageVariation|Redux": "image to image",
    r"ControlNet|Adapter": "following a control image",
    r"Prior|Decoder": "a part of another pipeline",
}


def kind_problem(index: Mapping[str, Any]) -> str | None:
    """Say why a pipeline, given its `model_index.json`, does not make images of text alone; None if it does.

    Text to image is what diffusers' `AutoPipelineForText2Image` lists, and nothing else.
    """
    name = index.get("_class_name")
    if not isinstance(name, str):
        return f"it is a pipeline with code of its own ({name}), which is not run"
    task = task_of(name)
    if task != _TEXT_TO_IMAGE:
        return f"it is a {name}, which is for {task}" if task else f"no text to image of diffusers is called {name}"
    lacking = [part for part in ("tokenizer", "text_encoder", "scheduler") if not _has(index, part)]
    if lacking:
        return f"it is a {name} without {' and '.join(lacking)}, so it cannot be prompted"
    return None


def task_of(name: str) -> str | None:
    """What a class of diffusers' pipelines is for, in words; None where neither its lists nor its name tell."""
    listed = listed_tasks().get(name)
    return listed or next((task for words, task in _WORDS.items() if re.search(words, name)), None)


@cache
def listed_tasks() -> dict[str, str]:
    """What each class is for that diffusers' auto classes list; text to image where it is listed for other tasks, too.

    The file with the lists is read and not imported, since that takes torch and seconds.
    """
    found: dict[str, str] = {}
    for mapping, kind, name in _entries(_lists()):
        task = next((task for word, task in _TASKS.items() if word in mapping), None)
        if task == _TEXT_TO_IMAGE:
            task = next((other for word, other in _NOT_FROM_TEXT_ALONE.items() if word in kind), task)
        if task is not None and found.get(name) != _TEXT_TO_IMAGE:
            found[name] = task
    return found


def _lists() -> ast.Module:
    package = find_spec("diffusers")
    assert package is not None and package.submodule_search_locations
    return ast.parse((Path(package.submodule_search_locations[0]) / "pipelines" / "auto_pipeline.py").read_bytes())


def _entries(tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    """Name of the list, of the kind and of the class, of every `NAME = OrderedDict([(kind, Class), …])`, and of every
    `NAME[kind] = Class`, which stands where diffusers found sentencepiece."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=mapping)], value=ast.Call(args=[ast.List(elts=pairs)])):
                for pair in pairs:
                    match pair:
                        case ast.Tuple(elts=[ast.Constant(value=str(kind)), ast.Name(id=name)]):
                            yield mapping, kind, name
            case ast.Assign(
                targets=[ast.Subscript(value=ast.Name(id=mapping), slice=ast.Constant(value=str(kind)))],
                value=ast.Name(id=name),
            ) if find_spec("sentencepiece"):
                yield mapping, kind, name


def _has(index: Mapping[str, Any], part: str) -> bool:
    match index.get(part):
        case [str(), str()]:
            return True
    return False


def unfit_for_style(index: Mapping[str, Any]) -> str | None:
    """Say why a pipeline, given its `model_index.json`, cannot have a style token; None if it can.

    A token needs one text encoder, whose embedding it is, and a UNet to learn it with.
    """
    if _has(index, "unet") and not _has(index, "text_encoder_2"):
        return None
    return (
        "a style token needs a pipeline with one text encoder and a UNet (Stable Diffusion 1.x or 2.x), not"
        f" {index.get('_class_name')}: give another --generator, or leave out --real and calibrate.style"
    )
