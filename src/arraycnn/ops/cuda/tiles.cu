// What is left to do where several blocks shared the sum over k of a product.
#include "epilogue.cuh"
#include "packs.cuh"

// Each of the `size` numbers of y, rows of `columns`, is the sum of those at its place in `splits`
// parts, added in the same order always, and then the epilogue's. Likewise column_sums (null: there
// are none), of `columns` numbers, from its own parts, without an epilogue.
//
//   thread.x   32 neighbouring numbers            Each thread adds every 8th part;
//   thread.y   8 groups of parts                  the first group adds the groups.
template <typename T, typename Epilogue = BiasRelu<T>, typename Y = T>
__global__ void __launch_bounds__(256)
sum_splits(const T* parts, const T* column_parts, Y* y, T* column_sums, long long splits,
           long long size, long long columns, Epilogue epilogue) {
    __shared__ T groups[8][32];
    const long long element = (long long)blockIdx.x * 32 + threadIdx.x;
    const bool of_y = element < size;
    const bool exists = of_y || (column_sums && element < size + columns);
    T sum = 0;
    if (exists) {
        const T* first = of_y ? parts + element : column_parts + (element - size);
        const long long stride = of_y ? size : columns;
        for (long long split = threadIdx.y; split < splits; split += 8) sum += first[split * stride];
    }
    groups[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || !exists) return;
    for (int group = 1; group < 8; ++group) sum += groups[group][threadIdx.x];
    if (!of_y) {
        column_sums[element - size] = sum;
        return;
    }
    y[element] = Y(epilogue(sum, element / columns, element % columns));
}
