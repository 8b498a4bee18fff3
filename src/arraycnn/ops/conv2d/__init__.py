"""Convolution and its gradients: for NumPy, compiled, and in CUDA C++.

Which way one goes, by its shapes:

    NumPy       `numpy.py` chooses: products of columns (`numpy_by_columns.py`) or Winograd's algorithm
                (`numpy_winograd.py`); a ReLU and a 2x2 pool that follow, and their gradients, are there
    compiled    `compiled.py` chooses, by `compiled_shapes.py`:
                few outputs for its filters                    `compiled_over_images.py`
                3x3 of whole vectors of channels and filters   `compiled_winograd.py`
                any other                                      `compiled_kernels.py`; of that
                  3x3 of one channel                             `compiled_nine_taps.py`
                  the gradient for the image                     `compiled_phases.py`
                  the same for few channels                      `compiled_few_channels.py`
                gradients of few channels behind a 2x2 pool    `compiled_few_channels_pooled.py`
    CUDA        `cuda.py`, tiles on tensor cores; `cuda_direct.py` for few channels, with a pool

Groups and dilation, on all three (`grouped.py`):

    a channel a group       loops of the program, forward and backward, of any window and multiplier:
                            memory bounds them, and a loop takes what follows along
    several channels        the convolution of each group by the kernels above, side by side in memory
    dilation besides        products of columns, of each group
"""
