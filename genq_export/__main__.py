"""`python -m genq_export` is `genq-export`."""

from genq_export.cli import main

if __name__ == "__main__":
    main()
