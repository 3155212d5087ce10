"""Pack the real images that the package ships: the whole test set, and a few training images of each class."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from genq_export.zoo.names import CLASS_NAMES
from tools.train_zoo.idx import load_split

FEW_SHOTS = 16


def pack_images(data: Path, out: Path, seed: int) -> list[Path]:
    """Write `out/test_set.npz` and `out/few_shot_set.npz`: images uint8 [N, 28, 28], labels uint8 [N]."""
    out.mkdir(parents=True, exist_ok=True)
    test_images, test_labels = load_split(data, "t10k")
    images, labels = load_split(data, "train")
    few = few_shots(labels, seed)
    paths = [out / "test_set.npz", out / "few_shot_set.npz"]
    np.savez_compressed(paths[0], images=test_images, labels=test_labels.astype(np.uint8))
    np.savez_compressed(paths[1], images=images[few], labels=labels[few].astype(np.uint8))
    return paths


def few_shots(labels: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """Draw the numbers of 16 images of each class, in class order, from labels int64 [N]: int64 [160]."""
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(np.flatnonzero(labels == label), FEW_SHOTS, replace=False) for label in range(len(CLASS_NAMES))]
    return np.sort(np.stack(drawn), axis=1).reshape(-1)
