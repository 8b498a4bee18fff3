"""The optimizers' updates, in PyTorch's functions."""
