"""`genq-export calibrate`"""

from genq_export.cli.commands.stage import run_stage
from genq_export.cli.options import (
    ConfigFile,
    Given,
    Json,
    Model,
    Output,
    Quiet,
    RunCode,
    Settings,
    Verbose,
    with_options,
)
from genq_export.cli.resolve import new_build
from genq_export.core.progress import Progress


@with_options("calibrate")
def calibrate(
    *,
    model: Model = None,
    output: Output = None,
    config: ConfigFile = None,
    given: Given,
    settings: Settings = None,
    run_code: RunCode = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make the synthetic calibration set of a build folder."""
    from genq_export.pipeline.build import default_folder

    resolved = new_build("calibrate", model, config, given, settings or (), run_code)
    run_stage(("calibrate",), resolved, output or default_folder(resolved), Progress(quiet, verbose), as_json)
