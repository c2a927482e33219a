"""Kops Toolkit: show, prove and repair Kubernetes on real clusters."""

__version__ = "0.1.0"
