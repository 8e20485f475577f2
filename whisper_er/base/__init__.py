"""Errors, files, processes, devices: what every other folder uses. Nothing here is about speech."""
