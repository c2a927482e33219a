"""The machine below: processes, clock, files, progress, the undo journal; small interfaces."""
