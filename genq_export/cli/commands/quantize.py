"""`genq-export quantize`"""

from genq_export.cli.commands.stage import run_stage
from genq_export.cli.options import Folder, Given, Json, Quiet, RunCode, Verbose, with_options
from genq_export.cli.resolve import quantized_again
from genq_export.core.progress import Progress


@with_options("quantize")
def quantize(
    folder: Folder,
    given: Given,
    run_code: RunCode = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Quantize on the calibration set of a build folder, its own or the one of --calibration."""
    progress = Progress(quiet, verbose)
    stages = ("calibrate", "quantize") if "calibration_set" in given else ("quantize",)
    run_stage(stages, quantized_again(folder, given, progress, run_code), folder, progress, as_json)
