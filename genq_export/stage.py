"""What a stage is: one arrow of the flow, with all that the pipeline must know of it.

Stages live in the rooms of their work and are reached by name (`config.registry.STAGES`); the pipeline runs them in
order, skips those that are fresh, and asks them what they need before the first one starts.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from genq_export.config.build import BuildConfig
from genq_export.core.distributed import Helpers, Ranks
from genq_export.core.progress import Progress
from genq_export.core.workspace import StageResult, Workspace
from genq_export.models.loaded import LoadedModel


@dataclass(frozen=True)
class StageContext:
    """What a running stage is given.

    load_model: the network of the config, loaded once for all stages. identity: the stage's fingerprint. ranks,
    helpers: this process among others that were launched with it, and these others.
    """

    workspace: Workspace
    config: BuildConfig
    progress: Progress
    load_model: Callable[[], LoadedModel]
    identity: str = ""
    ranks: Ranks = field(default_factory=Ranks)
    helpers: Helpers = field(default_factory=lambda: Helpers(Ranks()))

    @property
    def partial(self) -> Path:
        """Where the stage keeps unfinished work, so that a killed run goes on; removed when it is done."""
        return self.workspace.path("partial", self.identity[:16])


class Stage(Protocol):
    """One stage. Its methods but `run` and `assist` are quick and import no torch.

    name: of the command and in the manifest. previous: the stage whose files it reads, None for the first.
    """

    name: str
    previous: str | None

    def settings(self, config: BuildConfig) -> object:
        """The part of the config that decides the result, JSON-able."""

    def fetch(self, context: StageContext) -> None:
        """Download what it reads and is told by, so that its inputs are the same before and after it ran.

        Raises:
            UserError: where that cannot be had.
        """

    def inputs(self, config: BuildConfig, workspace: Workspace) -> object:
        """Identities of what it reads beside the previous stage's files. Raises UserError where it cannot be read."""

    def parts(self, config: BuildConfig) -> tuple[str, ...]:
        """Modules whose code, with all that they import, decides the result: its own, and those the config names."""

    def problems(self, config: BuildConfig, folder: Path) -> list[str]:
        """Every reason why it could not work on this machine, a sentence each with its remedy."""

    def notes(self, config: BuildConfig) -> list[str]:
        """What it will do without, said before it starts."""

    def plan(self, config: BuildConfig) -> str:
        """Its work in words."""

    def shares_work(self, config: BuildConfig) -> bool:
        """Do other processes that were launched with this one help?"""

    def run(self, context: StageContext) -> StageResult:
        """Do the work; `context.helpers.at((name, task))` has the other processes call `assist` with that task."""

    def assist(self, context: StageContext, task: object) -> None:
        """The share of a process that helps; it writes nothing that `run` does not expect."""
