"""Concepts of Kubernetes, told and proven on a live cluster."""
