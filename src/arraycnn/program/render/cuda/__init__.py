"""A schedule as CUDA C++: fused loops as kernels of a text that is made here, heads as written."""
