"""The door for exported programs: `net.pt2`."""

from pathlib import Path
from typing import TYPE_CHECKING

from genq_export.config.model import ModelConfig
from genq_export.data.digests import file_digest
from genq_export.models.door import ANY_GENERATOR, Door, Finding, Offer
from genq_export.models.loaded import LoadedModel
from genq_export.models.program.schema import SCHEMA

if TYPE_CHECKING:
    from genq_export.models.program.read import Program


class ProgramDoor(Door):
    """A file of `torch.export.save`."""

    def matches(self, config: ModelConfig) -> bool:
        """By its suffix."""
        return config.name.endswith(".pt2")

    def identity(self, config: ModelConfig) -> str:
        """The file's content."""
        return f"program {file_digest(Path(config.name))}"

    def load(self, config: ModelConfig, pretrained: bool) -> LoadedModel:
        """Read the program; what it takes stands in it, what pixels are to it the user says."""
        from genq_export.models.own_module import described_module

        program = self._read(config)
        sized = config.model_copy(update={"input_size": program.input_size})
        return described_module(sized, config.title, program.module)

    def architecture_problems(self, config: ModelConfig) -> list[str]:
        """A file that is not there."""
        return [] if Path(config.name).is_file() else [f"exported program {config.name} does not exist"]

    def offers(self, search: str) -> list[Offer]:
        """The form of its names."""
        return [] if search else [Offer("FILE.pt2", "the file's, or --weights FILE", ANY_GENERATOR)]

    def findings(self) -> list[Finding]:
        """Which files this torch reads."""
        return [Finding("networks FILE.pt2", "works", f"of torch.export.save, schema {SCHEMA}")]

    def _read(self, config: ModelConfig) -> "Program":
        from genq_export.models.program.read import read_program

        return read_program(Path(config.name), config.input_size)


PROGRAM = ProgramDoor()
