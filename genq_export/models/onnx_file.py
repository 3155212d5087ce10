"""Networks out of ONNX files: `net.onnx`.

The file is read as data, made into a network of torch's layers (`onnx_import`), and held against ONNX Runtime before
anything else is done with it. It says nothing of pixels: what the user does not say of them is not guessed.
"""

from importlib.metadata import version
from pathlib import Path

from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError
from genq_export.data.digests import file_digest, files_digest
from genq_export.models.door import Door, Finding, Offer
from genq_export.models.loaded import LoadedModel
from genq_export.models.own_module import not_told

_COLOURS = (1, 3)


class OnnxFileDoor(Door):
    """A float network `[batch, channels, height, width]` -> its outputs, or tensors inside that the user names."""

    def matches(self, config: ModelConfig) -> bool:
        """By the end of its name."""
        return config.name.lower().endswith(".onnx")

    def identity(self, config: ModelConfig) -> str:
        """Of the file, and of the files beside it that hold its tensors."""
        from genq_export.models.onnx_import.container import external_files

        path = Path(config.name)
        others = files_digest(path.parent, external_files(path))
        return f"onnx {file_digest(path)} {others}"

    def load(self, config: ModelConfig, pretrained: bool) -> LoadedModel:
        """Read, translate and check it; without its weights only the input and the outputs are looked at."""
        from genq_export.models.onnx_import.load import load_network

        found = load_network(Path(config.name), config.input_size, config.outputs, config.dynamic_size)
        size = found.input_size
        channels = size[0]
        if channels not in _COLOURS:
            raise UserError(f"{config.name} takes images of {channels} channels; 1 or 3 are taken")
        plain = (0.0,) * channels, (1.0,) * channels
        notes = (*found.notes, *not_told(config, config.name))
        return LoadedModel(config.name, found.network, size, *plain, 1.0, "bilinear", None, found.classes, notes=notes)

    def problems(self, config: ModelConfig) -> list[str]:
        """A file that is not there, or cannot be read."""
        if not Path(config.name).is_file():
            return [f"network file {config.name} does not exist"]
        return []

    def default_generator(self, config: ModelConfig) -> str | None:
        """Dead leaves: a file has no class names that a pipeline could draw."""
        return None if config.classes is not None else "leaves"

    def offers(self, search: str) -> list[Offer]:
        """The form of its names."""
        return [] if search else [Offer("FILE.onnx", "the file's", "leaves")]

    def findings(self) -> list[Finding]:
        """Which files are read, and what they are held against."""
        from genq_export.models.onnx_import.reading import OPSETS

        note = f"opsets {OPSETS.start} to {OPSETS.stop - 1}, held against ONNX Runtime {version('onnxruntime')}"
        return [Finding("networks FILE.onnx", "works", note)]


ONNX_FILE = OnnxFileDoor()
