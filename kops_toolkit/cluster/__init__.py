"""kind clusters and their nodes."""
