"""The renderer for NumPy: a loop of a schedule as calls of NumPy's functions on chunks of its space."""
