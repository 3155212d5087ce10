"""`genq-export export`"""

from genq_export.cli.commands.stage import run_stage
from genq_export.cli.options import Folder, Json, Quiet, RunCode, Verbose
from genq_export.cli.resolve import with_leave
from genq_export.core.progress import Progress


def export(
    folder: Folder, run_code: RunCode = False, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False
) -> None:
    """Fold the quantized network of a build folder into the target's integer file."""
    from genq_export.pipeline.build import read_config

    run_stage(("export",), with_leave(read_config(folder), run_code), folder, Progress(quiet, verbose), as_json)
