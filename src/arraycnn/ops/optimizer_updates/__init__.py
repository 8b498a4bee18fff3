"""The optimizers' updates, in PyTorch's functions and in CUDA C++."""
