"""Convolution and its gradients: for NumPy, compiled, and in CUDA C++."""
