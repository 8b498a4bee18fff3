"""Softmax and its cross-entropy, in CUDA C++."""
