"""A batch of images taken from a data set and rescaled, in CUDA C++."""
