"""What the training of the classifiers draws and augments."""

import subprocess
import sys

import numpy as np
import torch

from tools.train_zoo.classifiers import augment
from tools.train_zoo.images import few_shots
from tools.train_zoo.training import normalise


def test_few_shots_are_distinct_and_repeatable() -> None:
    labels = np.repeat(np.arange(10), 50)
    drawn = few_shots(labels, seed=1)
    assert len(set(drawn.tolist())) == 160 and np.array_equal(drawn, few_shots(labels, seed=1))
    assert np.array_equal(labels[drawn], np.repeat(np.arange(10), 16))


def test_augmentation_only_moves_and_mirrors() -> None:
    image = torch.zeros(50, 28, 28, dtype=torch.uint8)
    image[:, 10, 3] = 200
    moved = augment(image, 2, torch.Generator().manual_seed(0))
    assert moved.shape == (50, 32, 32) and (moved.flatten(1).sum(1) == 200).all()
    rows, columns = moved.nonzero()[:, 1], moved.nonzero()[:, 2]
    assert set(rows.tolist()) == set(range(10, 15))
    assert set(columns.tolist()) == set(range(3, 8)) | set(range(24, 29))
    assert normalise(moved).shape == (50, 3, 32, 32) and normalise(moved).min() == -1


def test_the_command_says_how_it_is_used() -> None:
    done = subprocess.run([sys.executable, "-m", "tools.train_zoo", "resnet", "--data", "nowhere"], check=False)
    assert done.returncode == 2
