"""NumPy's functions as calls that are recorded: what all its kernels have in common."""
