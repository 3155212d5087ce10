"""Does an artefact really compute in integers? One row a layer, and for each that does not, why."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LayerAudit:
    """One layer: its operator in the file, whether the runtime runs it in integers, and as what or why not.

    on_purpose: it computes in float because the config says so, and does not count against the file.
    """

    name: str
    op: str
    integer: bool
    detail: str
    on_purpose: bool = False

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)
