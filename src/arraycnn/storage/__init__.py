"""Files and folders: written whole or not at all, locked, and read with suspicion."""
