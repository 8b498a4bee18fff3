"""Matrix products and dense layers: for NumPy, compiled, and in CUDA C++."""
