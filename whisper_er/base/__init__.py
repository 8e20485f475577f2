"""Errors, files, settings that others wrote: what every other folder uses. Nothing here is about speech."""
