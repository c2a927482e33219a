"""`python -m kops_toolkit` and the `kt` command."""
