"""A set that exists: `--calibration BUILD`, of this network or another. Nothing is drawn, nothing is filtered."""

from pathlib import Path

from calibrate.sources.source import FinishedSet, set_folder
from calibrate.summary import CalibrateSummary
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError, problems_of
from genq_export.core.paths import inside, reading
from genq_export.core.progress import Progress
from genq_export.core.workspace import StageResult, Workspace
from genq_export.data.calibration_set import METADATA, kept_images, kept_rows
from genq_export.data.decode import read_image
from genq_export.data.digests import files_digest
from genq_export.models.loaded import LoadedModel

_FOLDER = "calibration"


class ExistingSet(FinishedSet):
    """The kept images of another build and its metadata, copied as they are."""

    def identity(self, config: BuildConfig) -> object:
        """Of the metadata and of the images that it keeps, whole."""
        folder = _set_folder(config)
        return files_digest(folder, [folder / METADATA, *kept_images(folder)])

    def problems(self, config: BuildConfig, folder: Path) -> list[str]:
        """Is there a set, and is it whole?"""
        return problems_of(_rows, config)

    def take_over(
        self, workspace: Workspace, config: BuildConfig, model: LoadedModel, progress: Progress
    ) -> StageResult:
        """Copy it.

        Raises:
            UserError: where there is no set, no kept image in it, one of them is missing or no image, or one is named
                that cannot lie in it.
        """
        folder = _set_folder(config)
        names = [METADATA, *(row.file_name for row in kept_rows(folder))]
        for image in kept_images(folder):  # before anything is written
            read_image(image)
        progress.say(f"calibrate: {len(names) - 1} images from {folder}")
        for name in names:
            with reading(folder):
                content = inside(folder, name).read_bytes()
            workspace.write_bytes(f"{_FOLDER}/{name}", content)
        summary = CalibrateSummary(generator=f"the set in {folder}", kept=len(names) - 1)
        return StageResult([f"{_FOLDER}/{name}" for name in names], summary.model_dump(mode="json"))


EXISTING_SET = ExistingSet()


def _rows(config: BuildConfig) -> object:
    return kept_rows(_set_folder(config))


def _set_folder(config: BuildConfig) -> Path:
    """The set in the build folder that the config names, or the folder itself."""
    source = config.calibrate.calibration_set
    assert source is not None
    folder = set_folder(source)
    if folder is None or not (folder / METADATA).is_file():
        raise UserError(
            f"no calibration set in {source} (--calibration takes a build folder, its {_FOLDER}/, or images)"
        )
    if folder != source:
        inside(source, f"{_FOLDER}/{METADATA}")
    inside(folder, METADATA)
    return folder
