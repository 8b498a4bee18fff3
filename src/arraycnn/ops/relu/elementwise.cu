// The gradient of ReLU, where no product takes it along.
#include "elements.cuh"

template <typename T>
__global__ void relu_backward(const T* __restrict__ y, const T* __restrict__ dy,
                              T* __restrict__ dx, long long count) {
    for_each_element(count, [&](long long i) {
        const T gradient = dy[i];
        dx[i] = y[i] > T(0) ? gradient : T(0);
    });
}
