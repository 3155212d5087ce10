"""Reproduce the zoo from Fashion-MNIST's four files: `python -m tools.train_zoo all --data DIR --out DIR`."""

import argparse
import sys
from pathlib import Path

from genq_export.zoo.names import ZOO_PIPELINE
from tools.train_zoo.idx import DEFAULT_FOLDER

_CLASSIFIERS = {"resnet": "fashion_resnet", "mobilenet": "fashion_mobilenet", "vit": "fashion_vit"}
_SCENE_NETWORKS = {"detector": "fashion_detector", "segmenter": "fashion_segmenter"}
PARTS = ("data", "resnet", "mobilenet", "vit", "style", "vae", "unet", "detector", "segmenter")


def train(part: str, data: Path, out: Path, seed: int) -> None:
    """Make one of `PARTS` in `out`; "unet" needs "vae" there. A training that was stopped goes on from there."""
    out.mkdir(parents=True, exist_ok=True)
    if part == "data":
        from tools.train_zoo.images import pack_images

        pack_images(data, out, seed)
    elif part in _CLASSIFIERS:
        from tools.train_zoo.classifiers import train_classifier

        train_classifier(_CLASSIFIERS[part], data, out, seed, _log)
    elif part in _SCENE_NETWORKS:
        from tools.train_zoo.scene_networks import train_scene_network

        train_scene_network(_SCENE_NETWORKS[part], data, out, seed, _log)
    elif part == "style":
        from tools.train_zoo.style_judge import train_style_judge

        train_style_judge(data, out, seed, _log)
    elif part == "vae":
        from tools.train_zoo.autoencoder import train_autoencoder

        train_autoencoder(data, out, seed, _log)
    elif part == "unet":
        from tools.train_zoo.autoencoder import precompute_latents
        from tools.train_zoo.diffusion import train_diffusion
        from tools.train_zoo.pipeline import write_pipeline

        if not (out / "vae").is_dir():
            raise FileNotFoundError(f"{out} holds no vae folder; train the part vae first")
        latents = precompute_latents(out / "vae", data, out, seed, _log)
        checkpoint = train_diffusion(latents, out, seed, _log)
        write_pipeline(checkpoint, out / "vae", out / ZOO_PIPELINE)
    else:
        raise ValueError(f"unknown part {part!r}; known: {', '.join(PARTS)}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 0 where all went well, 2 where the input is at fault."""
    parser = argparse.ArgumentParser(prog="python -m tools.train_zoo", description=__doc__)
    parser.add_argument("part", choices=[*PARTS, "all"])
    parser.add_argument(
        "--data", type=Path, default=DEFAULT_FOLDER, help="folder of the idx files (default %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=Path("zoo-build"), help="where results and checkpoints go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: torch's choice)")
    options = parser.parse_args(arguments)

    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    try:
        for part in PARTS if options.part == "all" else (options.part,):
            train(part, options.data, options.out, options.seed)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _log(line: str) -> None:
    print(line, flush=True)
