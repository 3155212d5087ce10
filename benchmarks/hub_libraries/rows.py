"""A row of the table: one package in one library, held against the build."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.hub_libraries.libraries import Found, Package
from genq_export import load
from genq_export.tasks.counts import ErrorPower


@dataclass(frozen=True)
class Row:
    """One package in one library.

    agreement: of pictures: share with the same class; of positions with the same class; or the mean cosine of vectors.
    piped: share of what `pipeline` answers that this output stands for; None: it does not load.
    """

    network: str
    library: str
    images: int
    equal: int
    largest: float
    preprocessing_db: float
    agreement: float
    measure: str
    piped: float | None
    refused: str

    @staticmethod
    def head() -> str:
        """Of the Markdown table."""
        return "| network | library | equal outputs | preprocessing | on pictures | `pipeline` |\n" + "|---" * 6 + "|"

    def line(self) -> str:
        """Of the Markdown table."""
        equal = f"{self.equal} of {self.images}" + (f", largest {self.largest:.2g}" if self.largest else "")
        noise = "equal" if self.preprocessing_db >= 300 else f"{self.preprocessing_db:.1f} dB"
        piped = f"does not load: {self.refused}" if self.piped is None else f"{100 * self.piped:.2f} % the same"
        return (
            f"| {self.network} | {self.library} | {equal} | {noise} | {self.measure.format(self.agreement)} | {piped} |"
        )


def row_of(package: Package, library: str, found: Found) -> Row:
    """Hold what a library found against `genq_export.load` of the build."""
    run = load(package.build)
    ours = np.concatenate([_one(run(image[None])) for image in package.tensors])
    of_pictures = np.concatenate([_one(run(image[None])) for image in package.pixels])
    theirs = found.of_tensors.reshape(ours.shape)
    power = ErrorPower()
    power.add(package.pixels, found.pixels.reshape(package.pixels.shape))
    own_pictures = found.of_pictures.reshape(ours.shape)
    agreement, measure = _agreement(package.pipeline, of_pictures, own_pictures)
    return Row(
        network=package.model.name.rpartition("/")[2], library=library, images=len(ours),
        equal=int((theirs == ours).reshape(len(ours), -1).all(1).sum()), largest=float(np.abs(theirs - ours).max()),
        preprocessing_db=power.sqnr_db(), agreement=agreement, measure=measure,
        piped=None if found.piped is None else _piped(package, own_pictures, found.piped), refused=found.refused,
    )  # fmt: skip


def _one(answer: object) -> NDArray[np.float32]:
    """The one output, under a name or not."""
    (output,) = answer.values() if isinstance(answer, dict) else (answer,)
    return np.asarray(output)


def _agreement(pipeline: str, ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> tuple[float, str]:
    if pipeline == "image-feature-extraction":
        lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        return float(((ours * theirs).sum(1) / lengths).mean()), "cosine {:.5f}"
    what = "positions" if pipeline == "image-segmentation" else "classes"
    return 100 * float((ours.argmax(1) == theirs.argmax(1)).mean()), f"{{:.1f}} % {what}"


def _piped(package: Package, outputs: NDArray[np.float32], piped: list[NDArray[np.generic]]) -> float:
    """The share of equal classes, positions or numbers."""
    if package.pipeline == "image-classification":
        return float(np.mean([row.argmax() == answer.item() for row, answer in zip(outputs, piped, strict=True)]))
    if package.pipeline == "image-feature-extraction":
        return float(np.mean([row == answer.reshape(row.shape) for row, answer in zip(outputs, piped, strict=True)]))
    return float(
        np.mean([_map(row, answer.size) == answer.reshape(-1) for row, answer in zip(outputs, piped, strict=True)])
    )


def _map(masks: NDArray[np.float32], positions: int) -> NDArray[np.generic]:
    """Classes at every position of a square picture: what stands in front of them is enlarged bilinearly."""
    import torch

    side = round(positions**0.5)
    large = torch.nn.functional.interpolate(torch.from_numpy(masks)[None], (side, side), mode="bilinear")
    return large[0].argmax(0).reshape(-1).numpy()
