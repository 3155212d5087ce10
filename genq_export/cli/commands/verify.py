"""`genq-export verify`"""

from typing import Any

from genq_export.cli.options import Folder, Given, Quiet, Verbose, with_options
from genq_export.core.progress import Progress


@with_options("verify")
def verify(folder: Folder, given: Given, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Measure accuracy, fidelity and latency of a build folder on this machine, beside what others measured."""
    from genq_export.pipeline.reverify import reverify

    progress = Progress(quiet, verbose)
    backends = tuple(given.get("backends", ()))
    ours = ("evaluation", "backends", "device")
    reading: dict[str, Any] = {name: value for name, value in given.items() if name not in ours}
    result = reverify(folder, progress, given.get("evaluation"), backends, given.get("device"), reading)
    progress.say(f"verify: measured on {result.summary['machine']}; `genq-export report {folder}` shows it")
