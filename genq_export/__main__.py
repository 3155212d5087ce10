"""`python -m genq_export` is `genq-export`."""

from genq_export.cli.app import main

if __name__ == "__main__":
    main()
