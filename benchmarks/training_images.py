"""Fashion-MNIST's training images, which no package holds: read by the code that trained the zoo."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))  # `tools` is not installed

from tools.train_zoo.idx import DEFAULT_FOLDER, load_split

__all__ = ["DEFAULT_FOLDER", "load_split"]
