// Products of two matrices, with an epilogue such as a bias and ReLU, or with the gradient of ReLU at no cost of their own.
#include "tiles.cuh"

// An epilogue of whole sums: parts of them are stored as they are.
template <typename T, typename Epilogue>
struct OfWhole {
    const Epilogue& epilogue;
    bool is_whole;

    DEVICE T operator()(T value, long long line, long long column) const {
        return is_whole ? epilogue(value, line, column) : value;
    }
};

// The last of the blocks that share a tile adds up what all of them have left in `parts`, in order, and
// says that it did.
template <typename Math, typename T, typename Y, typename Epilogue>
DEVICE bool sum_parts(const Block& at, const T* parts, const T* column_parts, Y* y, T* column_sums,
                      int* counters, long long rows, long long columns, const Epilogue& epilogue) {
    if (!is_last_block(counters + at.x, at.tall)) return false;
    const int splits = at.tall;
    const unsigned across = (unsigned)((columns + Math::COLUMNS - 1) / Math::COLUMNS);
    const long long row = (long long)(at.x / across) * Math::ROWS;
    const long long first = (long long)(at.x % across) * Math::COLUMNS;
    constexpr int AT_ONCE = 8;  // numbers of a thread, whose loads are under way together
    for (int i = threadIdx.x; i < Math::ROWS * Math::COLUMNS; i += AT_ONCE * Math::THREADS) {
        T sums[AT_ONCE] = {};
#pragma unroll 2
        for (int split = 0; split < splits; ++split)
#pragma unroll
            for (int j = 0; j < AT_ONCE; ++j) {
                const int number = i + j * Math::THREADS;
                const long long line = row + number / Math::COLUMNS;
                const long long column = first + number % Math::COLUMNS;
                const bool exists = number < Math::ROWS * Math::COLUMNS && line < rows && column < columns;
                if (exists) sums[j] += parts[(split * rows + line) * columns + column];
            }
#pragma unroll
        for (int j = 0; j < AT_ONCE; ++j) {
            const int number = i + j * Math::THREADS;
            const long long line = row + number / Math::COLUMNS;
            const long long column = first + number % Math::COLUMNS;
            if (number >= Math::ROWS * Math::COLUMNS || line >= rows || column >= columns) continue;
            y[line * columns + column] = Y(epilogue(sums[j], line, column));
        }
    }
    const long long column = first + threadIdx.x;
    if (!column_sums || row > 0 || threadIdx.x >= Math::COLUMNS || column >= columns) return true;
    T sum = T(0);
    for (int split = 0; split < splits; ++split) sum += column_parts[split * columns + column];
    column_sums[column] = sum;
    return true;
}

// The type of the gate, which one operand has at most.
template <typename Math, typename FormA, typename FormB>
using GateOf = If<FormA::GATED, StoredOf<Math, FormA>, StoredOf<Math, FormB>>;

// `gate`, for the operand that has one.
template <typename Form, typename T, typename Gate>
DEVICE const T* gate_of(const Gate* gate) {
    if constexpr (Form::GATED)
        return gate;
    else
        return nullptr;
}

// y(m, n) = sum over k of a(m, k) b(k, n), as in tiles.cuh, of `rows` x `columns`.
//
// Blocks y split k: block y takes the steps from y per_split on, and its sums are part y of `y`, and
// of `column_sums` (null: not wanted), the sums of the columns of b. With `counters`, one for each
// tile, these parts are then added up, to `whole` and `whole_sums`. `gate` belongs to whichever operand
// is GATED. Returns whether this block has stored whole sums.
template <typename Math, typename FormA, typename FormB, typename Epilogue,
          typename Y = Number<Math>, typename Whole = Y>
DEVICE bool matmul_block(const Block& at, const StoredOf<Math, FormA>* a,
                         const StoredOf<Math, FormB>* b, const GateOf<Math, FormA, FormB>* gate,
                         Y* y, Number<Math>* column_sums, long long rows, long long columns,
                         long long depth, typename Or<Whole, void>::Type* whole,
                         Number<Math>* whole_sums, int* counters, long long per_split,
                         const Epilogue& epilogue) {
    using T = Number<Math>;
    using A = StoredOf<Math, FormA>;
    using B = StoredOf<Math, FormB>;
    const long long first = at.y * per_split;
    const long long last = first + per_split < depth ? first + per_split : depth;
    const Matrix<A, FormA::ALONG_K> left{a, gate_of<FormA, A>(gate), rows, depth};
    const Matrix<B, FormB::ALONG_K> right{b, gate_of<FormB, B>(gate), columns, depth};
    const Rows<Y> target{y + at.y * rows * columns, rows, columns};
    const OfWhole<T, Epilogue> each{epilogue, !counters};
    tile_product<Math, FormA, FormB>(at, left, right, target, each, first, last,
                                     column_sums ? column_sums + at.y * columns : nullptr);
    // Two parts of a large tile are more than launch_product in tiles.py lets one block add up.
    if constexpr (IS_SAME<Y, T> && 2 * Math::ROWS * Math::COLUMNS * sizeof(T) <= 64 * 1024) {
        if (counters)
            return sum_parts<Math>(at, y, column_sums, whole, whole_sums, counters, rows, columns, epilogue);
    }
    return at.tall == 1;
}

template <typename Math, typename FormA, typename FormB,
          typename Epilogue = BiasRelu<typename Math::Number>, typename Y = typename Math::Number,
          typename Whole = Y, typename T = typename Math::Number, typename A = StoredOf<Math, FormA>,
          typename B = StoredOf<Math, FormB>, typename Gate = GateOf<Math, FormA, FormB>>
__global__ void __launch_bounds__(Math::THREADS, 1)
matmul(const A* a, const B* b, const Gate* gate, Y* y, T* column_sums, long long rows,
       long long columns, long long depth, Whole* whole, T* whole_sums, int* counters,
       long long per_split, Epilogue epilogue) {
    matmul_block<Math, FormA, FormB, Epilogue, Y, Whole>(
        block_of_grid(), a, b, gate, y, column_sums, rows, columns, depth, whole, whole_sums, counters,
        per_split, epilogue);
}
