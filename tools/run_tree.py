"""Run a module or a file with the packages of PYTHONPATH alone: `python -P tools/run_tree.py -m genq_export build …`.

An editable installation of another revision in the same environment would fill in modules that this revision lacks.
"""

import runpy
import sys


def main() -> None:
    """Take the finders of editable installations off the path, then run what the command line names."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not _is_editable(finder)]
    first, *others = sys.argv[1:]
    if first == "-m":
        sys.argv = others
        runpy.run_module(others[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *others]
        runpy.run_path(first, run_name="__main__")


def _is_editable(finder: object) -> bool:
    return str(getattr(finder, "__module__", "")).startswith("__editable__")


if __name__ == "__main__":
    main()
