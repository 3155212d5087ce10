"""From what was given on the command line to a config."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genq_export.config.build import BuildConfig
from genq_export.config.settings import parameters
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress


def new_build(
    command: str,
    model: str | None,
    config: Path | None,
    given: dict[str, Any],
    settings: Sequence[str],
    run_code: bool = False,
) -> BuildConfig:
    """The config of a build that a network and options say, or a file.

    run_code: the network may be a Python file that the config names.

    Raises:
        UserError: for neither or both, and for what no config holds.
    """
    if config is not None:
        _check_alone(command, model, config, given, settings)
        return with_leave(BuildConfig.read(config), run_code)
    if model is None:
        raise UserError("no MODEL given; `genq-export models` lists what can be built")
    return BuildConfig.for_model(model, settings=settings, **given)


def _check_alone(command: str, model: str | None, config: Path, given: dict[str, Any], settings: Sequence[str]) -> None:
    if model is not None:
        raise UserError("give a MODEL or --config, not both")
    flags = [option.flag for option in parameters(BuildConfig, command) if option.keyword in given]
    ignored = ", ".join([*flags, *(["--set"] if settings else [])])
    if ignored:
        raise UserError(f"--config holds every setting, {ignored} would be ignored: change {config} instead")


def with_leave(config: BuildConfig, run_code: bool) -> BuildConfig:
    """Return a config that was read from a file; it may come from a stranger.

    Raises:
        UserError: where it names a Python file as the network, and the user has not said that it may run.
    """
    from genq_export.models.source import runs_code

    if runs_code(config.model) and not run_code:
        raise UserError(
            f"the network of this config is code, {config.model.name}, and this would run it: read that file, then"
            " say --run-code"
        )
    return config


def quantized_again(folder: Path, given: dict[str, Any], progress: Progress, run_code: bool = False) -> BuildConfig:
    """The config of a build folder with options of `quantize`, or of a new folder where they name a model.

    A preset changes the settings of quantization that the config of the folder has from its own preset.

    Raises:
        UserError: where the folder is no build, or a model is given without a calibration set.
    """
    from genq_export.pipeline.build import read_config

    if "model" in given:
        if "calibration_set" not in given:
            raise UserError("--model needs --calibration DIR, the build folder whose images to quantize on")
        return BuildConfig.for_model(given.pop("model"), **given)
    config = with_leave(read_config(folder), run_code)
    preset = given.pop("preset", None)
    if preset is not None:
        config, kept = config.with_preset(preset, "quantize")
        if kept:
            progress.say(f"--preset {preset}: {', '.join(kept)} as config.yaml gives it")
    return config.changed("quantize", given)
