"""Our packages `calibrate`, `export` and `runtime_tests` have common names: notice when others shadow them."""

from importlib.util import find_spec
from pathlib import Path

from genq_export.core.errors import UserError

COMPANIONS = ("calibrate", "export", "runtime_tests")


def check_packages() -> None:
    """Raise UserError where `import export` would bring in somebody else's module instead of ours."""
    ours = Path(__file__).resolve().parents[2]
    for name in COMPANIONS:
        spec = find_spec(name)
        places = (
            [] if spec is None else [str(spec.origin)] if spec.origin else list(spec.submodule_search_locations or [])
        )
        if not places:
            raise UserError(f"the package '{name}' of genq-export is missing: reinstall genq-export")
        found = Path(places[0]).resolve()
        folder = found.parent if found.suffix == ".py" else found
        if folder != ours / name:
            raise UserError(
                f"another module named '{name}' hides ours: {places[0]}; run genq-export elsewhere, rename that module,"
                " or take its folder off PYTHONPATH"
            )
