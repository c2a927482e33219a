"""`python -m kops_toolkit` and the `kt` command."""

from kops_toolkit.cli.app import main

if __name__ == "__main__":
    main()
