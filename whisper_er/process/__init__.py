"""Processes: how many, on what devices, how they end, how much memory there is; nothing about speech."""
