"""The API server: the only room that imports `kubernetes`."""
