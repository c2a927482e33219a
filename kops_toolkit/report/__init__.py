"""Drawings of outcomes: table, live view, JSON."""
