"""Pools and their gradients: for NumPy, compiled, and in CUDA C++."""
