"""What every folder stands on: errors, files, processes, devices. Nothing here knows of speech."""
