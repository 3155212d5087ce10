"""What every test folder shares."""

import os

# Small networks lose by sharing their work, and the machine may have other work to do.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
