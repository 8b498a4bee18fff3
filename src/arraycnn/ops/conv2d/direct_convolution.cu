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
    // The place of a number of an image; of one outside, that of its first, which is not used then: all
    // loads are on their way together where none is behind a branch.
    DEVICE int place(bool inside, int h, int w, int c) const {
        return inside ? (h * width + w) * channels + c : 0;
    }
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

// Images that lie in memory. Others are computed where they are read, as `Source` of cuda_direct.py has
// it: image(n) is a function of the place of a number in image n, which reads what is there, and value()
// makes the number of that. So all that a thread reads is on its way together.
template <typename T>
struct StoredImages {
    const T* data;
    long long size;  // of an image

    DEVICE auto image(long long n) const {
        const T* const first = data + n * size;
        return [first](int place) { return first[place]; };
    }
    DEVICE T value(T number) const { return number; }
};

// What `Source` reads of an image.
template <typename Image>
using Read = decltype(static_cast<Image*>(nullptr)->operator()(0));

// What is read of COUNT pixels of row h from column w on.
template <int COUNT, typename Image>
DEVICE void read_row(Read<Image> (&row)[COUNT], const Image& image, const Sizes& s, int h, int w,
                     int c) {
#pragma unroll
    for (int b = 0; b < COUNT; ++b) row[b] = image(s.place(s.inside(h, w + b), h, w + b, c));
}

// Those pixels, zeros outside of the image.
template <typename T, int COUNT, typename Source, typename Read>
DEVICE void load_row(T (&row)[COUNT], const Source& source, const Read (&read)[COUNT], const Sizes& s,
                     int h, int w) {
#pragma unroll
    for (int b = 0; b < COUNT; ++b) row[b] = s.inside(h, w + b) ? source.value(read[b]) : T(0);
}

// A thread has GROUP filters at one pooled pixel; the groups of a pixel are neighbours, so that a warp
// writes one run of memory.
//
// Shared memory: the weights and then the bias (null: 0), a line of filters for each (kh, kw, c),
// with zeros up to whole groups.
template <typename T, int EDGE, int GROUP, typename Source = StoredImages<T>>
__global__ void __launch_bounds__(THREADS)
conv2d_max_pool2d(Source x, const T* __restrict__ weight,
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
        const auto image = x.image(n);
        T outputs[4][GROUP], weights[GROUP];
#pragma unroll
        for (int place = 0; place < 4; ++place)
            load_group(outputs[place], lines + bias_line * line + first_filter);
        for (int c = 0; c < s.channels; ++c) {
            Read<decltype(image)> read[SIDE][SIDE];
#pragma unroll
            for (int a = 0; a < SIDE; ++a) read_row(read[a], image, s, h0 + a, w0, c);
            // Two rows of the patch are enough at a time: those of the upper and of the lower places.
            T upper[SIDE], lower[SIDE];
            load_row(upper, x, read[0], s, h0, w0);
#pragma unroll
            for (int kh = 0; kh < EDGE; ++kh) {
                load_row(lower, x, read[kh + 1], s, h0 + kh + 1, w0);
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
// in parts[block][kh EDGE + kw][pair] and bias_parts[block][f].
template <typename T, int EDGE, typename Source>
DEVICE void sum_gradients_block(const Block& at, const Source& x, const T* y,
                                const unsigned char* winners, const T* dy, T* parts, T* bias_parts,
                                T* /* dweight */, T* /* dbias */, int* /* counter */, SIZE_PARAMETERS) {
    constexpr int TAPS = EDGE * EDGE, LINES = TAPS + 1;
    constexpr int AT_ONCE = 10;  // lines in shared memory
    const Sizes s(SIZE_ARGUMENTS);
    const int pairs = s.channels * s.filters, lanes = blockDim.x / pairs;
    const int lane = threadIdx.x / pairs, pair = threadIdx.x % pairs;
    const int f = pair % s.filters, c = pair / s.filters;
    const unsigned pixels = (unsigned)(s.rows * s.columns), step = at.wide * lanes;
    constexpr int PIXELS = EDGE == 3 ? 2 : 1;  // at once, as far as registers go

    T sums[LINES] = {};
    if (lane < lanes)
        for (long long n = at.y; n < s.images; n += at.tall) {
            const auto image = x.image(n);
            for (unsigned first = at.x * lanes + lane; first < pixels; first += PIXELS * step) {
                T gradients[PIXELS];
                int h[PIXELS], w[PIXELS];
                Read<decltype(image)> read[PIXELS][EDGE][EDGE];
#pragma unroll
                for (int i = 0; i < PIXELS; ++i) {
                    const bool exists = first + i * step < pixels;
                    const unsigned pixel = exists ? first + i * step : first;
                    const long long place = n * s.output() + (long long)pixel * s.filters + f;
                    const T gradient = gradient_at(y, dy, place);
                    const int winner = winners[place];
                    gradients[i] = exists ? gradient : T(0);
                    h[i] = exists ? (int)(pixel / (unsigned)s.columns) * 2 + winner / 2 - s.top : -EDGE;
                    w[i] = (int)(pixel % (unsigned)s.columns) * 2 + winner % 2 - s.left;
                }
#pragma unroll
                for (int i = 0; i < PIXELS; ++i)
#pragma unroll
                    for (int kh = 0; kh < EDGE; ++kh)
                        read_row(read[i][kh], image, s, h[i] + kh, w[i], c);
#pragma unroll
                for (int i = 0; i < PIXELS; ++i) {
#pragma unroll
                    for (int kh = 0; kh < EDGE; ++kh)
#pragma unroll
                        for (int kw = 0; kw < EDGE; ++kw)
                            if (s.inside(h[i] + kh, w[i] + kw))
                                sums[kh * EDGE + kw] += gradients[i] * x.value(read[i][kh][kw]);
                    sums[TAPS] += gradients[i];
                }
            }
        }

    DYNAMIC_SHARED(T, of_threads);  // AT_ONCE lines, each longer by `pairs` to spread over the banks
    const int line = blockDim.x + pairs;
    const long long block = (long long)at.y * at.wide + at.x;
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
}

// The sums of the parts that so many blocks have left, by the threads of the last one: there are whole
// quads of either, and one for each of these threads at most. A thread has 4 numbers and every
// `shares`-th block. What those after the last whole share have is not used.
template <typename T, int EDGE, typename Source>
DEVICE void sum_gradients_last(int blocks, const Source& /* x */, const T* /* y */,
                               const unsigned char* /* winners */, const T* /* dy */, const T* parts,
                               const T* bias_parts, T* dweight, T* dbias, int* /* counter */,
                               SIZE_PARAMETERS) {
    const Sizes s(SIZE_ARGUMENTS);
    constexpr int TAPS = EDGE * EDGE;
    const int pairs = s.channels * s.filters;
    DYNAMIC_SHARED(T, of_threads);
    const int of_weights = TAPS * pairs / 4, of_bias = s.filters / 4;
    const int quads = of_weights + of_bias, shares = blockDim.x / quads;
    const int quad = threadIdx.x % quads, share = threadIdx.x / quads;
    const bool weighs = quad < of_weights;
    const int stride = weighs ? of_weights : of_bias, place = weighs ? quad : quad - of_weights;
    const auto* from = reinterpret_cast<const Pack<T, 4>*>(weighs ? parts : bias_parts) + place;
    Pack<T, 4> sum = {};
    constexpr int PARTS = 8;  // at once
    for (int first = share; first < blocks; first += PARTS * shares) {
        Pack<T, 4> some[PARTS];
#pragma unroll
        for (int j = 0; j < PARTS; ++j) {
            const int other = first + j * shares;
            some[j] = from[(other < blocks ? other : first) * stride];
        }
#pragma unroll
        for (int j = 0; j < PARTS; ++j)
#pragma unroll
            for (int i = 0; i < 4; ++i)
                if (first + j * shares < blocks) sum.at[i] += some[j].at[i];
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

// With a `counter`, the last block adds the parts up.
template <typename T, int EDGE, typename Source = StoredImages<T>>
__global__ void sum_gradients(Source x, const T* __restrict__ y,
                              const unsigned char* __restrict__ winners,
                              const T* __restrict__ dy, T* parts, T* bias_parts,
                              T* __restrict__ dweight, T* __restrict__ dbias, int* counter,
                              SIZE_PARAMETERS) {
    sum_gradients_block<T, EDGE>(block_of_grid(), x, y, winners, dy, parts, bias_parts, dweight, dbias,
                                 counter, SIZE_ARGUMENTS);
    if (!counter || !is_last_block(counter)) return;
    sum_gradients_last<T, EDGE>((int)(gridDim.x * gridDim.y), x, y, winners, dy, parts, bias_parts,
                                dweight, dbias, counter, SIZE_ARGUMENTS);
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
