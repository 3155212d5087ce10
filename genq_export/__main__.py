"""`python -m genq_export` is `genq-export`."""

if __name__ == "__main__":
    from genq_export.cli.app import main

    main()
