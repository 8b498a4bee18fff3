// Convolution of stride 1 on tensor cores: all that a block's outputs meet of the images, a patch, is
// copied to shared memory once, and read there for each place of the window. Axes as in ops/generic.py.
#include "tiles.cuh"

// by_...: see `quotient`.
#define PATCH_PARAMETERS                                                                        \
    long long images, long long height, long long width, long long channels,                    \
        long long out_height, long long out_width, long long filters, long long tall,           \
        long long wide, long long top, long long left, long long by_across,                     \
        long long by_outputs, long long by_rows, long long by_columns, long long by_lines,      \
        long long by_pitch, long long /* steps of k: all */
#define PATCH_ARGUMENTS                                                                         \
    images, height, width, channels, out_height, out_width, filters, tall, wide, top, left,     \
        by_across, by_outputs, by_rows, by_columns, by_lines, by_pitch

// y[n, i, j, f] = sum over p, q, c of x[n, i + p - top, j + q - left, c] w(p, q, c, f), where
// w(p, q, c, f) = weight[p, q, c, f] or, with FormWeight along k, weight[tall - 1 - p, wide - 1 - q, f, c]:
// then y is the gradient of the images of a convolution, and x that of its outputs. There are less than
// 2^31 outputs, and channels are a multiple of DEPTH.
//
// A patch is lines of pixels with what is around them, those of an image behind those of the one before:
// of each there are `lines` of `pitch` pixels, which windows on out_height x out_width outputs meet.
template <typename Math, typename FormX, typename FormWeight, typename Epilogue,
          typename Y = typename Math::Number>
DEVICE void conv2d_patch_block(const Block& at, const StoredOf<Math, FormX>* x,
                               const StoredOf<Math, FormWeight>* weight, Y* y,
                               Number<Math>* /* no sums */, PATCH_PARAMETERS,
                               const Epilogue& epilogue) {
    using Staged = typename Math::Staged;
    constexpr bool TURNED = FormWeight::ALONG_K;
    constexpr int PACK = 16 / sizeof(Staged), DOWN = Math::ROWS_OF_WARP / 16;
    using Pixels = typename Math::template Tile<true, Math::ROWS>;
    using Weights = typename Math::template Tile<TURNED, Math::COLUMNS>;
    static_assert(FormX::WIDTH == PACK && FormWeight::WIDTH == PACK, "copied 16 bytes at once");

    const int thread = threadIdx.x, lane = thread % 32;
    const int taps = (int)(tall * wide), lines = (int)(out_height + tall - 1);
    const int pitch = (int)(out_width + wide - 1);
    const int tile = quotient(at.x, by_across), first = tile * Math::ROWS;
    const int column =
        (at.x - tile * (int)((filters + Math::COLUMNS - 1) / Math::COLUMNS)) * Math::COLUMNS;
    const int image = quotient(first, by_outputs);  // of the first output
    const int output = first - image * (int)(out_height * out_width);
    const int row = quotient(output, by_columns);
    // The first pixel of the patch that the window of the block's output `offset` meets.
    const auto met_by = [&](int offset) {
        const int line = quotient(output + offset, by_columns);
        const int place = output + offset - line * (int)out_width;
        return (line - row + quotient(line, by_rows) * (int)(tall - 1)) * pitch + place;
    };
    const int last = met_by(Math::ROWS - 1) + (int)(tall - 1) * pitch + (int)wide;

    DYNAMIC_SHARED(Staged, weights);  // of each place of the window; cuda_patches.py says the size
    Staged* const pixels = weights + taps * Weights::SIZE;
    int starts[DOWN];
#pragma unroll
    for (int i = 0; i < DOWN; ++i) {
        const int offset = thread / 32 / Math::ACROSS * Math::ROWS_OF_WARP + i * 16 + lane % 16;
        starts[i] = met_by(offset) * Pixels::STRIDE + lane / 16 * PACK;
    }
    typename Math::template Sums<true, TURNED> sums;

    // A thread copies the same pack of each of its lines of weights, and every second one of its pixels.
    constexpr int WIDE = Weights::LENGTH / PACK, LINES = Math::THREADS / WIDE;
    constexpr int AT_ONCE = LINES > Weights::COUNT ? LINES / Weights::COUNT : 1;  // places
    const int of_tap = thread / WIDE % Weights::COUNT, pack = thread % WIDE * PACK;
    const int f = column + (TURNED ? of_tap : pack), c = TURNED ? pack : of_tap;
    const int to_tap = (int)(channels * filters), to_line = LINES * (int)(TURNED ? channels : filters);
    for (int channel = 0; channel < channels; channel += Math::DEPTH) {
        if (channel > 0) __syncthreads();  // nobody reads those before any more
        const int first_tap = thread / WIDE / Weights::COUNT;
        Staged* to = weights + thread / WIDE * Weights::STRIDE + pack;
        int from = TURNED ? (taps - 1 - first_tap) * to_tap + f * (int)channels + channel + c
                          : first_tap * to_tap + (channel + c) * (int)filters + f;
#pragma unroll 1
        for (int tap = first_tap; tap < taps; tap += AT_ONCE) {
#pragma unroll
            for (int i = 0; i < Weights::COUNT / LINES + (LINES > Weights::COUNT); ++i)
                copy_async<16>(to + i * LINES * Weights::STRIDE, weight + from + i * to_line,
                               f + (TURNED ? i * LINES : 0) < filters);
            from += TURNED ? -AT_ONCE * to_tap : AT_ONCE * to_tap;
            to += AT_ONCE * Weights::SIZE;
        }
        const Staged* const of_image =
            computed(x + image * height * width * channels + channel + thread % 2 * PACK);
        Staged* of_patch = pixels + thread / 2 * Pixels::STRIDE + thread % 2 * PACK;
#pragma unroll 1
        for (int pixel = thread / 2; pixel < last; pixel += Math::THREADS / 2) {
            const int of_patch_line = quotient(pixel, by_pitch), line = of_patch_line + row;
            const int behind = quotient(line, by_lines);  // the first image
            const int i = line - behind * lines - (int)top;
            const int j = pixel - of_patch_line * pitch - (int)left;
            const bool inside = image + behind < (int)images & (unsigned)i < (unsigned)height &
                                (unsigned)j < (unsigned)width;
            const int from = ((behind * (int)height + i) * (int)width + j) * (int)channels;
#pragma unroll
            for (int k = 0; k < Math::DEPTH; k += 2 * PACK)
                copy_async<16>(of_patch + k, of_image + from + k, inside);
            of_patch += Math::THREADS / 2 * Pixels::STRIDE;
        }
        copy_async_commit();
        copy_async_wait<0>();
        __syncthreads();
        const Staged* of_window = weights;
        for (int p = 0; p < (int)tall; ++p) {
            const Staged* met = pixels + p * pitch * Pixels::STRIDE;
#pragma unroll 1
            for (int q = 0; q < (int)wide; ++q) {
                sums.multiply_lines(met, starts, of_window, thread);
                met += Pixels::STRIDE;
                of_window += Weights::SIZE;
            }
        }
    }
    const ShortRows<Y> target{y, (int)(images * out_height * out_width), (int)filters};
    sums.write(target, epilogue, first, column, thread);
}

template <typename Math, typename FormX, typename FormWeight,
          typename Epilogue = BiasRelu<typename Math::Number>, typename Y = typename Math::Number>
__global__ void __launch_bounds__(Math::THREADS, 1)
conv2d_patch(const StoredOf<Math, FormX>* x, const StoredOf<Math, FormWeight>* weight, Y* y,
             Number<Math>* sums, PATCH_PARAMETERS steps, Epilogue epilogue) {
    conv2d_patch_block<Math, FormX, FormWeight>(block_of_grid(), x, weight, y, sums,
                                                PATCH_ARGUMENTS, steps, epilogue);
}
