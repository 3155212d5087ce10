"""`python -m tools.gpu_check`."""

import sys

from tools.gpu_check.check import main

sys.exit(main())
