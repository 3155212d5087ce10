"""Does an artefact really compute in integers? One row a layer, and for each that does not, why."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LayerAudit:
    """One layer: its operator in the file, whether the runtime runs it in integers, and as what or why not."""

    name: str
    op: str
    integer: bool
    detail: str

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)
