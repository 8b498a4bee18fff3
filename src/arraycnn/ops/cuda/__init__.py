"""Kernels in CUDA C++: what launches them, and what several share."""
