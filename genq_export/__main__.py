"""`python -m genq_export` is `genq-export`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts the current folder first; the console script does not, and a folder `export` there would hide ours.
    if not sys.flags.safe_path and Path(sys.path[0]).resolve() != Path(__file__).resolve().parents[1]:
        sys.path.pop(0)
    from genq_export.cli.app import main

    main()
