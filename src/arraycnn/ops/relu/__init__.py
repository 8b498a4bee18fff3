"""The gradient of a ReLU that no product takes along, in CUDA C++."""
