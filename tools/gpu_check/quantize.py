"""The quantize stage as a build runs it, timed."""

import tempfile
import time
from pathlib import Path

from PIL import Image

from export.fold import fold
from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.source import load_model
from genq_export.network.files import load_reference, save_integer_model
from genq_export.quantization.run import run


def quantized(build: Path, network: str, device: str, steps: int, count: int) -> float:
    """Seconds that quantizing to 4 bits on `count` of the zoo's images takes; leaves the folded model in `build`.

    steps: learned a block; 0: ranges alone.
    """
    settings = [f"quantize.reconstruction.iterations={steps}"] if steps else []
    preset = {} if steps else {"preset": "quick"}
    config = BuildConfig.for_model(network, bits=4, device=device, settings=settings, **preset)
    model, workspace, quiet = load_model(config.model), Workspace.open(build), Progress(quiet=True)
    with tempfile.TemporaryDirectory() as folder:
        images = [Path(folder) / f"{number:04d}.png" for number in range(count)]
        for path, pixels in zip(images, zoo.few_shot_set()[0], strict=False):
            Image.fromarray(pixels).save(path)
        images = [path for path in images if path.is_file()]
        started = time.perf_counter()
        run(workspace, config, model, images, Path(folder) / "partial", quiet)
        seconds = time.perf_counter() - started
    save_integer_model(fold(load_reference(build)), build)
    return seconds
