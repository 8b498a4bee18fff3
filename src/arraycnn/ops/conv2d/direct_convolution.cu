// A convolution, its ReLU and a 2x2 max-pool in one, for images of few channels, where columns and the
// convolution's own output would be most of the memory traffic. Neither exists here. Axes: images
// x (N, H, W, C), weight (KH, KW, C, F), pooled y and winners (N, ROWS, COLUMNS, F); KH = KW = EDGE.
//
//   the patch that pooled pixel (i, j) reads      its four outputs of the convolution
//
//   h = 2i - top  +---+---+---+---+                  place 0 | place 1     each reads EDGE x EDGE
//                 |   .   .   .   |  EDGE + 1       ---------+---------    of the patch, from
//                 |   .   .   .   |  pixels          place 2 | place 3     (place / 2, place % 2) on
//                 +---+---+---+---+
//            w = 2j - left                           the winner is the place of the largest
#include "warps.cuh"

#define SIZE_PARAMETERS                                                                    \
    long long images, long long height, long long width, long long channels,               \
        long long filters, long long rows, long long columns, long long top, long long left
#define SIZE_ARGUMENTS images, height, width, channels, filters, rows, columns, top, left

constexpr int THREADS = 256;  // the most of a block

struct Sizes {
    long long images;
    int height, width, channels, filters, rows, columns, top, left;

    DEVICE Sizes(SIZE_PARAMETERS)
        : images(images), height((int)height), width((int)width), channels((int)channels),
          filters((int)filters), rows((int)rows), columns((int)columns), top((int)top),
          left((int)left) {}
    DEVICE long long image() const { return (long long)height * width * channels; }
    DEVICE long long output() const { return (long long)rows * columns * filters; }
    DEVICE bool inside(int h, int w) const { return h >= 0 && h < height && w >= 0 && w < width; }
    DEVICE int pixel(int h, int w, int c) const { return (h * width + w) * channels + c; }
};

template <typename T, int COUNT>
struct alignas(sizeof(T) * COUNT) Pack {
    T at[COUNT];
};

// GROUP numbers that lie side by side in shared memory, 16 bytes at a time.
template <typename T, int GROUP>
DEVICE void load_group(T (&group)[GROUP], const T* from) {
    constexpr int COUNT = 16 / sizeof(T);
#pragma unroll
    for (int first = 0; first < GROUP; first += COUNT) {
        const auto pack = *reinterpret_cast<const Pack<T, COUNT>*>(from + first);
#pragma unroll
        for (int i = 0; i < COUNT; ++i) group[first + i] = pack.at[i];
    }
}

// COUNT pixels of row h from column w on, zeros outside of the image.
template <typename T, int COUNT>
DEVICE void load_row(T (&row)[COUNT], const T* image, const Sizes& s, int h, int w, int c) {
#pragma unroll
    for (int b = 0; b < COUNT; ++b)
        row[b] = s.inside(h, w + b) ? image[s.pixel(h, w + b, c)] : T(0);
}

// A thread has GROUP filters at one pooled pixel; the groups of a pixel are neighbours, so that a warp
// writes one run of memory.
//
// Shared memory: the weights and then the bias (null: 0), a line of filters for each (kh, kw, c),
// with zeros up to whole groups.
template <typename T, int EDGE, int GROUP>
__global__ void __launch_bounds__(THREADS)
conv2d_max_pool2d(const T* __restrict__ x, const T* __restrict__ weight,
                  const T* __restrict__ bias, T* __restrict__ y,
                  unsigned char* __restrict__ winners, SIZE_PARAMETERS, long long relu) {
    constexpr int SIDE = EDGE + 1;
    const Sizes s(SIZE_ARGUMENTS);
    const int groups = (s.filters + GROUP - 1) / GROUP, line = groups * GROUP;
    const int bias_line = EDGE * EDGE * s.channels;
    DYNAMIC_SHARED(T, lines);
    for (int i = threadIdx.x; i < (bias_line + 1) * line; i += blockDim.x) {
        const int number = i / line, f = i % line;
        const T* from = number < bias_line ? weight + number * s.filters : bias;
        lines[i] = f < s.filters && from ? from[f] : T(0);
    }
    __syncthreads();

    const unsigned element = blockIdx.x * blockDim.x + threadIdx.x;
    const unsigned pixel = element / (unsigned)groups;
    if (pixel >= (unsigned)(s.rows * s.columns)) return;
    const int first_filter = (int)(element % (unsigned)groups) * GROUP;
    const int h0 = (int)(pixel / (unsigned)s.columns) * 2 - s.top;
    const int w0 = (int)(pixel % (unsigned)s.columns) * 2 - s.left;
    for (long long n = blockIdx.y; n < s.images; n += gridDim.y) {
        const T* image = x + n * s.image();
        T outputs[4][GROUP], weights[GROUP];
#pragma unroll
        for (int place = 0; place < 4; ++place)
            load_group(outputs[place], lines + bias_line * line + first_filter);
        for (int c = 0; c < s.channels; ++c) {
            // Two rows of the patch are enough at a time: those of the upper and of the lower places.
            T upper[SIDE], lower[SIDE];
            load_row(upper, image, s, h0, w0, c);
#pragma unroll (EDGE == 3 ? 3 : 1)
            for (int kh = 0; kh < EDGE; ++kh) {
                load_row(lower, image, s, h0 + kh + 1, w0, c);
#pragma unroll
                for (int kw = 0; kw < EDGE; ++kw) {
                    const int number = (kh * EDGE + kw) * s.channels + c;
                    load_group(weights, lines + number * line + first_filter);
#pragma unroll
                    for (int place = 0; place < 4; ++place) {
                        const T pixel = place < 2 ? upper[kw + place % 2] : lower[kw + place % 2];
#pragma unroll
                        for (int g = 0; g < GROUP; ++g) outputs[place][g] += weights[g] * pixel;
                    }
                }
#pragma unroll
                for (int b = 0; b < SIDE; ++b) upper[b] = lower[b];
            }
        }
        Pack<T, 16 / sizeof(T)> largest[GROUP * sizeof(T) / 16];
        Pack<unsigned char, GROUP> winner;
#pragma unroll
        for (int g = 0; g < GROUP; ++g) {
            T best = outputs[0][g];
            winner.at[g] = 0;
#pragma unroll
            for (int place = 1; place < 4; ++place) {
                const T output = outputs[place][g];
                if (output > best) winner.at[g] = (unsigned char)place;
                if (output > best || output != output) best = output;  // nothing exceeds a NaN
            }
            largest[g / (16 / sizeof(T))].at[g % (16 / sizeof(T))] = relu && best < T(0) ? T(0) : best;
        }
        const long long target = n * s.output() + (long long)pixel * s.filters + first_filter;
        if (s.filters % GROUP == 0) {
#pragma unroll
            for (int i = 0; i < GROUP * (int)sizeof(T) / 16; ++i)
                reinterpret_cast<Pack<T, 16 / sizeof(T)>*>(y + target)[i] = largest[i];
            *reinterpret_cast<Pack<unsigned char, GROUP>*>(winners + target) = winner;
        } else {
#pragma unroll
            for (int g = 0; g < GROUP; ++g)
                if (first_filter + g < s.filters) {
                    y[target + g] = largest[g / (16 / sizeof(T))].at[g % (16 / sizeof(T))];
                    winners[target + g] = winner.at[g];
                }
        }
    }
}

// The gradient that reaches the convolution's winning output; 0 where ReLU held it at 0.
// `y` is null where there was no ReLU.
template <typename T>
DEVICE T gradient_at(const T* y, const T* dy, long long place) {
    return y && !(y[place] > T(0)) ? T(0) : dy[place];
}

// Each block's share of
//   dweight[kh, kw, c, f] = the sum of gradient(n, i, j, f) times the image's pixel that the winning
//   output reads by (kh, kw, c),   and   dbias[f] = the sum of gradient(n, i, j, f).
//
// A thread has one pair (c, f) and every `lanes`-th pooled pixel of the block's part of an image, for
// EDGE * EDGE + 1 sums in registers. Neighbouring threads have neighbouring filters, then channels:
//
//   thread   0 .. F-1 | F .. 2F-1 | .. C F - 1 | C F ..           pair = thread % (C F)
//   c          0      |     1     |            |   0              lane = thread / (C F)
//   pixel      0      |     0     |     0      |   1              then + lanes
//
// parts[block][kh EDGE + kw][pair] and bias_parts[block][f]. With a `counter`, the last block adds them up;
// there are then whole quads of either, and one for each of its threads at most.
template <typename T, int EDGE>
__global__ void sum_gradients(const T* __restrict__ x, const T* __restrict__ y,
                              const unsigned char* __restrict__ winners,
                              const T* __restrict__ dy, T* parts, T* bias_parts,
                              T* __restrict__ dweight, T* __restrict__ dbias, int* counter,
                              SIZE_PARAMETERS) {
    constexpr int TAPS = EDGE * EDGE, LINES = TAPS + 1;
    constexpr int AT_ONCE = 10;  // lines in shared memory
    const Sizes s(SIZE_ARGUMENTS);
    const int pairs = s.channels * s.filters, lanes = blockDim.x / pairs;
    const int lane = threadIdx.x / pairs, pair = threadIdx.x % pairs;
    const int f = pair % s.filters, c = pair / s.filters;
    const unsigned pixels = (unsigned)(s.rows * s.columns);

    T sums[LINES] = {};
    if (lane < lanes)
        for (long long n = blockIdx.y; n < s.images; n += gridDim.y)
            for (unsigned pixel = blockIdx.x * lanes + lane; pixel < pixels;
                 pixel += gridDim.x * lanes) {
                const long long place = n * s.output() + (long long)pixel * s.filters + f;
                const T gradient = gradient_at(y, dy, place);
                const int winner = winners[place];
                const int h = (int)(pixel / (unsigned)s.columns) * 2 + winner / 2 - s.top;
                const int w = (int)(pixel % (unsigned)s.columns) * 2 + winner % 2 - s.left;
                const T* image = x + n * s.image();
#pragma unroll
                for (int kh = 0; kh < EDGE; ++kh)
#pragma unroll
                    for (int kw = 0; kw < EDGE; ++kw)
                        if (s.inside(h + kh, w + kw))
                            sums[kh * EDGE + kw] += gradient * image[s.pixel(h + kh, w + kw, c)];
                sums[TAPS] += gradient;
            }

    DYNAMIC_SHARED(T, of_threads);  // AT_ONCE lines, each longer by `pairs` to spread over the banks
    const int line = blockDim.x + pairs;
    const long long blocks = (long long)gridDim.x * gridDim.y;
    const long long block = (long long)blockIdx.y * gridDim.x + blockIdx.x;
#pragma unroll
    for (int first = 0; first < LINES; first += AT_ONCE) {
        const int count = LINES - first < AT_ONCE ? LINES - first : AT_ONCE;
#pragma unroll
        for (int i = 0; i < AT_ONCE; ++i)
            if (first + i < LINES) of_threads[i * line + threadIdx.x] = sums[first + i];
        __syncthreads();
        for (int i = threadIdx.x; i < count * pairs; i += blockDim.x) {
            const T* mine = of_threads + i / pairs * line + i % pairs;
            T sum = T(0);
            for (int other = 0; other < lanes; ++other) sum += mine[other * pairs];
            const int number = first * pairs + i, behind = number - TAPS * pairs;
            if (behind < 0)
                parts[block * (TAPS * pairs) + number] = sum;
            else if (behind < s.filters)  // of the bias c = 0 alone counts
                bias_parts[block * s.filters + behind] = sum;
        }
        __syncthreads();
    }
    if (!counter || !is_last_block(counter)) return;

    // A thread has 4 numbers and every `shares`-th block. What those after the last whole share have is
    // not used.
    const int of_weights = TAPS * pairs / 4, of_bias = s.filters / 4;
    const int quads = of_weights + of_bias, shares = blockDim.x / quads;
    const int quad = threadIdx.x % quads, share = threadIdx.x / quads;
    const bool weighs = quad < of_weights;
    const int stride = weighs ? of_weights : of_bias, place = weighs ? quad : quad - of_weights;
    const auto* from = reinterpret_cast<const Pack<T, 4>*>(weighs ? parts : bias_parts) + place;
    Pack<T, 4> sum = {};
#pragma unroll 8
    for (int other = share; other < (int)blocks; other += shares) {
        const auto part = from[other * stride];
#pragma unroll
        for (int i = 0; i < 4; ++i) sum.at[i] += part.at[i];
    }
    auto* of_shares = reinterpret_cast<Pack<T, 4>*>(of_threads);
    of_shares[threadIdx.x] = sum;
    __syncthreads();
    if (share > 0) return;
    for (int i = 0; i < 4; ++i) {
        T all = sum.at[i];
        for (int other = 1; other < shares; ++other) all += of_shares[other * quads + quad].at[i];
        (weighs ? dweight : dbias)[place * 4 + i] = all;
    }
}

// dx[n, h, w, c] = the sum over (kh, kw, f) of weight times the gradient of the output (oh, ow) that
// reads the pixel there, if that output won its window. Shared memory: the weights.
template <typename T, int EDGE>
__global__ void image_gradient(const T* __restrict__ weight, const T* __restrict__ y,
                               const unsigned char* __restrict__ winners,
                               const T* __restrict__ dy, T* __restrict__ dx, SIZE_PARAMETERS) {
    const Sizes s(SIZE_ARGUMENTS);
    DYNAMIC_SHARED(T, weights);
    for (int i = threadIdx.x; i < EDGE * EDGE * s.channels * s.filters; i += blockDim.x)
        weights[i] = weight[i];
    __syncthreads();

    const unsigned element = blockIdx.x * blockDim.x + threadIdx.x;
    if (element >= s.image()) return;
    const int c = (int)(element % (unsigned)s.channels);
    const unsigned pixel = element / (unsigned)s.channels;
    const int h = (int)(pixel / (unsigned)s.width), w = (int)(pixel % (unsigned)s.width);
    for (long long n = blockIdx.y; n < s.images; n += gridDim.y) {
        T sum = T(0);
        for (int kh = 0; kh < EDGE; ++kh)
            for (int kw = 0; kw < EDGE; ++kw) {
                const int oh = h + s.top - kh, ow = w + s.left - kw;
                if (oh < 0 || oh >= 2 * s.rows || ow < 0 || ow >= 2 * s.columns) continue;
                const int place = oh % 2 * 2 + ow % 2;
                const long long first =
                    n * s.output() + ((long long)(oh / 2) * s.columns + ow / 2) * s.filters;
                const T* to_filters = weights + ((kh * EDGE + kw) * s.channels + c) * s.filters;
                for (int f = 0; f < s.filters; ++f)
                    if (winners[first + f] == place)
                        sum += to_filters[f] * gradient_at(y, dy, first + f);
            }
        dx[n * s.image() + element] = sum;
    }
}
