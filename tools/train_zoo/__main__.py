"""`python -m tools.train_zoo`."""

import sys

from tools.train_zoo.train import main

sys.exit(main())
