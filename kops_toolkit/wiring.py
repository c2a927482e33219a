"""Builds the real adapters: the one place that constructs what touches the world."""
