"""`genq-export export`"""

from genq_export.cli.commands.stage import run_stage
from genq_export.cli.options import Folder, Quiet, Verbose
from genq_export.core.progress import Progress


def export(folder: Folder, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Fold the quantized network of a build folder into the target's integer file."""
    from genq_export.pipeline.build import read_config

    run_stage(("export",), read_config(folder), folder, Progress(quiet, verbose))
