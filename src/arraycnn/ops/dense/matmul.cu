// Products of two matrices, with an epilogue such as a bias and ReLU, or with the gradient of ReLU at no cost of their own.
#include "tiles.cuh"

// y(m, n) = sum over k of a(m, k) b(k, n), as in tiles.cuh, of `rows` x `columns`.
//
// Blocks y split k: block y takes the steps from y per_split on, and its sums are part y of `y`, and
// of `column_sums` (null: not wanted), the sums of the columns of b. `gate` belongs to whichever
// operand is GATED.
template <typename Math, typename FormA, typename FormB,
          typename Epilogue = BiasRelu<typename Math::Number>, typename T = typename Math::Number>
__global__ void __launch_bounds__(Math::THREADS, 1)
matmul(const T* a, const T* b, const T* gate, T* y, T* column_sums, long long rows,
       long long columns, long long depth, long long per_split, Epilogue epilogue) {
    const long long first = blockIdx.y * per_split;
    const long long last = first + per_split < depth ? first + per_split : depth;
    const Matrix<T, FormA::ALONG_K> left{a, gate, rows, depth};
    const Matrix<T, FormB::ALONG_K> right{b, gate, columns, depth};
    const Rows<T> target{y + blockIdx.y * rows * columns, rows, columns};
    tile_product<Math, FormA, FormB>(left, right, target, epilogue, first, last,
                                     column_sums ? column_sums + blockIdx.y * columns : nullptr);
}
