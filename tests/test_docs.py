"""Every command in README.md, CONTRIBUTING.md, docs/ and recipes/ works: run, planned, or at least parsed.

A code block in `sh` or `python` is run in a folder that has what the documents assume. An HTML comment in front of it
says otherwise: `<!-- test: dry-run -->` plans builds and parses the rest, `<!-- test: parse -->` parses only,
`<!-- test: slow -->` runs as it stands with `-m slow` and is parsed by default.

What runs by default is made small: few images, few steps, a few images to judge by.
"""

import ast
import importlib
import importlib.util
import re
import shlex
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.models.onnx_import.graphs import write_classifier

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "recipes/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
MODES = ("run", "dry-run", "parse", "slow")
BLOCK = re.compile(
    r"(?:<!-- test: (?P<mode>[\w-]+) -->\n)?^```(?P<language>sh|python)\n(?P<text>.*?)^```$", re.M | re.S
)
SHELL_WORDS = ("git", "cd", ".", "npm", "podman")  # of a reader's shell, not ours
SHARED = "build fashion_resnet --bits 8 --preset quick"

# What a plan may lack where there is neither hub, GPU nor the optional package.
FETCHED_OR_FITTED = re.compile(
    r"error: (pretrained weights of [\w.]+ \(timm/[\w.]+\) are not in the Hugging Face cache"
    r"|generator [\w.-]+/[\w.@-]+ is not in the Hugging Face cache"
    r"|LoRA weights need peft"
    r"|device 'cuda' is not available"
    r"|weights of efficientnet_lite0 come with a package)"
)


@dataclass(frozen=True)
class Block:
    """One code block of a page. place: page and line, for people."""

    place: str
    mode: str
    language: str
    text: str

    def commands(self) -> list[list[str]]:
        """The words of each command of a shell block, comments left out, continued lines and `&&` taken apart."""
        lines = self.text.replace("\\\n", " ").splitlines()
        split = [shlex.split(part, comments=True) for line in lines for part in line.split(" && ")]
        return [words for words in split if words]


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in BLOCK.finditer(text):
            place = f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, match.start('language')) + 1}"
            found.append(Block(place, match["mode"] or "run", match["language"], match["text"]))
    return found


BLOCKS = blocks()


def named(chosen: list[Block]) -> list[object]:
    return [pytest.param(block, id=block.place) for block in chosen]


def genq_export(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """The command in this process; returns its exit code."""
    from genq_export.cli.app import main

    monkeypatch.setattr(sys, "argv", ["genq-export", *arguments])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def smaller(arguments: list[str], judge: Path) -> list[str]:
    """A build with settings added that make it take seconds."""
    if arguments[0] not in ("build", "tune", "calibrate"):
        return arguments
    text = " ".join(arguments)
    added = [] if "--images" in text else ["--images", "20"]
    added += [] if "calibrate.steps" in text or "--steps" in text else ["--steps", "2"]
    added += ["--set", "verify.latency_runs=10", "--set", "verify.latency_batches=[1]"]
    added += ["--set", "verify.fidelity_images=4"]
    if "fashion" in text:
        added += ["--set", f"verify.evaluation={judge}"]
    return [*arguments, *added]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the documents speak of."""
    import timm
    import torch
    from PIL import Image
    from safetensors.torch import save_file
    from torchvision.models import get_model

    from genq_export import zoo

    folder = tmp_path_factory.mktemp("docs")
    for name, network in (("mine", "mobilenetv2_100"), ("small", "test_resnet")):
        save_file(timm.create_model(network).state_dict(), folder / f"{name}.safetensors")
    tuned = {"state_dict": timm.create_model("test_resnet", num_classes=10).state_dict(), "epoch": 90}
    torch.save(tuned, folder / "fine-tuned.pth")
    (folder / "ten-names.txt").write_text("".join(f"kind {number}\n" for number in range(10)))
    save_file(get_model("squeezenet1_1").state_dict(), folder / "squeezenet.safetensors")
    write_classifier(folder / "net.onnx", ("n", 3, 32, 32))
    (folder / "style.safetensors").write_bytes(b"")
    (folder / "names.txt").write_text("".join(f"class {number}\n" for number in range(1000)))
    (folder / "my-pipeline").symlink_to(zoo.pipeline_folder())
    write_lora(folder / "lora.safetensors")
    (folder / "recipes").symlink_to(ROOT / "recipes")
    pixels, labels = zoo.few_shot_set()
    for number in range(0, len(pixels), 8):
        for place in (f"judge/{zoo.CLASS_NAMES[labels[number]]}", "a-few-photographs"):
            path = folder / place / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[number]).save(path)
    for label in ("n01440764", "n01443537"):
        (folder / "my-labelled-images" / label).mkdir(parents=True)
        Image.fromarray(pixels[0]).save(folder / "my-labelled-images" / label / "a.png")
    (folder / "imagenet" / "val" / "n01440764").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "imagenet" / "val" / "n01440764" / "a.png")
    return folder


@pytest.fixture(scope="module")
def built(workplace: Path) -> Path:
    """The folder above with the one build that most pages use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workplace)
        assert genq_export(smaller(shlex.split(SHARED), workplace / "judge"), patch) in (0, 1)
    return workplace


def write_lora(path: Path) -> None:
    """Weights that change one layer of the embedded pipeline."""
    import torch
    from safetensors.torch import load_file, save_file

    from genq_export import zoo

    weights = load_file(zoo.pipeline_folder() / "unet" / "diffusion_pytorch_model.safetensors")
    layer = next(name for name in weights if name.endswith("attn2.to_q.weight"))
    high, wide = weights[layer].shape
    name = f"unet.{layer.removesuffix('.weight')}"
    save_file({f"{name}.lora_A.weight": torch.ones(1, wide), f"{name}.lora_B.weight": torch.ones(high, 1)}, path)


def test_every_block_states_a_mode_that_exists() -> None:
    assert len(BLOCKS) > 20
    assert [block.place for block in BLOCKS if block.mode not in MODES] == []
    marks = sum(len(re.findall(r"<!-- test: ", page.read_text())) for page in PAGES)
    assert marks == sum(block.mode != "run" for block in BLOCKS), "a mark does not stand right in front of a block"


@pytest.mark.parametrize("block", named([block for block in BLOCKS if block.mode == "run"]))
def test_a_block_runs(block: Block, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(built)
    for words in commands_or_run(block):
        # A gate may fail on so little data: that is exit code 1.
        allowed = (0, 1) if words[1] in ("build", "tune", "report") else (0,)
        assert genq_export(smaller(words[1:], built / "judge"), monkeypatch) in allowed


@pytest.mark.parametrize("block", named([block for block in BLOCKS if block.mode == "dry-run"]))
def test_a_block_can_be_planned(
    block: Block, built: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(built)
    planned = 0
    for words in block.commands():
        if words[:2] != ["genq-export", "build"]:
            parse(words)
            continue
        planned += 1
        code = genq_export([*words[1:], *([] if "--dry-run" in words else ["--dry-run"])], monkeypatch)
        errors = capsys.readouterr().err.splitlines()
        assert [line for line in errors if line.startswith("error:") and not FETCHED_OR_FITTED.match(line)] == []
        assert code == (2 if errors else 0)
    assert planned > 0


@pytest.mark.parametrize("block", named([block for block in BLOCKS if block.mode in ("parse", "slow")]))
def test_a_block_can_be_parsed(block: Block) -> None:
    if block.language == "python":
        check_imports(block)
        return
    for words in block.commands():
        parse(words)


@pytest.mark.slow
@pytest.mark.parametrize("block", named([block for block in BLOCKS if block.mode == "slow"]))
def test_a_slow_block_runs(block: Block, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(built)
    for words in commands_or_run(block):
        assert genq_export(words[1:], monkeypatch) in (0, 1)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(linked), f"{page.name} links to {target}"


def test_pictures_are_small() -> None:
    assert [path.name for path in (ROOT / "docs").rglob("*.[ps][nv]g") if path.stat().st_size > 300_000] == []


def commands_or_run(block: Block) -> list[list[str]]:
    """The genq-export commands of a shell block; a Python block is run here and has none."""
    if block.language == "python":
        exec(compile(block.text, block.place, "exec"), {"__name__": "__main__"})
        return []
    for words in block.commands():
        assert words[0] == "genq-export", f"{words[0]} cannot be run by the test: mark the block"
    return block.commands()


def anchors(page: Path) -> list[str]:
    """GitHub's anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def parse(words: list[str]) -> None:
    """Fail where the program, its subcommand, an option, a file or an extra does not exist."""
    program, *arguments = words
    if program == "genq-export":
        parse_genq_export(arguments)
    elif program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.M), f"make {arguments[0]}"
    elif program == "hf":
        assert arguments[0] == "download", words
    elif program == "pip":
        assert arguments[0] == "install" and set(extras(arguments[1])) <= set(known_extras()), words
    elif program in ("python", "accelerate", "torchrun") and "genq_export" in arguments:
        parse_genq_export(arguments[arguments.index("genq_export") + 1 :])
    elif program == "python" and arguments[0] == "-m":
        assert importlib.util.find_spec(arguments[1]), words
    elif program == "python":
        assert (ROOT / arguments[0]).is_file(), words
    else:
        assert program in SHELL_WORDS, f"the test does not know {program}"


def parse_genq_export(arguments: list[str]) -> None:
    import typer

    from genq_export.cli.program import app

    group = typer.main.get_command(app)
    command = group.commands[arguments[0]]  # type: ignore[attr-defined]
    command.make_context(arguments[0], list(arguments[1:]))


def extras(requirement: str) -> list[str]:
    found = re.fullmatch(r"(?:genq-export|\.)(?:\[([\w,-]+)\])?", requirement)
    assert found, f"pip install {requirement}"
    return found[1].split(",") if found[1] else []


def known_extras() -> list[str]:
    return list(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def optional_packages() -> set[str]:
    """Packages of the extras, which may not be installed."""
    extras_of = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    return {re.split(r"[^\w.-]", requirement)[0] for extra in extras_of.values() for requirement in extra}


def check_imports(block: Block) -> None:
    """The block is Python, and what it imports exists."""
    for node in ast.walk(ast.parse(block.text, block.place)):
        if isinstance(node, ast.Import):
            for name in node.names:
                here = importlib.util.find_spec(name.name) or name.name in optional_packages()
                assert here, f"{block.place}: import {name.name}"
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            for name in node.names:
                within = f"{node.module}.{name.name}"
                assert hasattr(module, name.name) or importlib.util.find_spec(within), f"{block.place}: {within}"
