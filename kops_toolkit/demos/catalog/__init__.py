"""One module a concept."""
