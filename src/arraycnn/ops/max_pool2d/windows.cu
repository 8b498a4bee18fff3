// Windows of an image: columns for the matrix product, and pools. Axes as in ops/generic.py: images
// x (N, H, W, C) and outputs y (N, OH, OW, C). A window has `tall` x `wide` places (kh, kw), and
// the next one begins `down` or `right` pixels further:
//
//   h = oh down + kh - top        0 <= h < H, else the place lies in the padding
//   w = ow right + kw - left      0 <= w < W
//
// Each thread has one place in an image (of x, y or the columns). It takes it apart into its axes
// once, in 32 bits, and then goes through the images blockIdx.y, blockIdx.y + gridDim.y, ...
#include "packs.cuh"

#define SIZE_PARAMETERS                                                                         \
    long long images, long long height, long long width, long long channels,                    \
        long long out_height, long long out_width, long long tall, long long wide,              \
        long long down, long long right, long long top, long long left
#define SIZE_ARGUMENTS \
    images, height, width, channels, out_height, out_width, tall, wide, down, right, top, left

struct Sizes {
    long long images;
    int height, width, channels, out_height, out_width, tall, wide, down, right, top, left;

    DEVICE long long image() const { return (long long)height * width * channels; }
    DEVICE long long output() const { return (long long)out_height * out_width * channels; }
    DEVICE int pixel(int h, int w, int c) const { return (h * width + w) * channels + c; }
    DEVICE int place(int oh, int ow, int c) const { return (oh * out_width + ow) * channels + c; }
};

// With EDGE > 0 windows are EDGE x EDGE, side by side: numbers that the compiler then knows.
template <int EDGE>
DEVICE Sizes sizes_of(SIZE_PARAMETERS) {
    if (EDGE > 0) tall = wide = down = right = EDGE;
    return {images,    (int)height, (int)width, (int)channels, (int)out_height, (int)out_width,
            (int)tall, (int)wide,   (int)down,  (int)right,    (int)top,        (int)left};
}

DEVICE long long my_element() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }

// columns[n, oh, ow, kh, kw, c] = x[n, h, w, c], 0 in the padding.
template <typename T>
__global__ void im2col(const T* __restrict__ x, T* __restrict__ columns, SIZE_PARAMETERS) {
    const Sizes s = sizes_of<0>(SIZE_ARGUMENTS);
    const long long per_image = s.output() * s.tall * s.wide;
    if (my_element() >= per_image) return;
    unsigned rest = (unsigned)my_element();
    const unsigned c = rest % (unsigned)s.channels; rest /= (unsigned)s.channels;
    const unsigned kw = rest % (unsigned)s.wide; rest /= (unsigned)s.wide;
    const unsigned kh = rest % (unsigned)s.tall; rest /= (unsigned)s.tall;
    const unsigned ow = rest % (unsigned)s.out_width, oh = rest / (unsigned)s.out_width;
    const int h = (int)(oh * s.down + kh) - s.top, w = (int)(ow * s.right + kw) - s.left;
    const bool inside = h >= 0 && h < s.height && w >= 0 && w < s.width;
    for (long long n = blockIdx.y; n < s.images; n += gridDim.y)
        columns[n * per_image + my_element()] =
            inside ? x[n * s.image() + s.pixel(h, w, (int)c)] : T(0);
}

// The windows that read one pixel. Each further place down is that of a window further up:
//
//   kh = first_kh, first_kh + down, ...  below tall         oh down + kh = h + top
//   oh = last_oh,  last_oh - 1, ...      from 0 on
struct Readers {
    int last_oh, first_kh, last_ow, first_kw, c;
};

DEVICE Readers readers_of(unsigned element, const Sizes& s) {
    Readers readers;
    readers.c = (int)(element % (unsigned)s.channels); element /= (unsigned)s.channels;
    const unsigned row = element / (unsigned)s.width + (unsigned)s.top;
    const unsigned column = element % (unsigned)s.width + (unsigned)s.left;
    const int oh = (int)(row / (unsigned)s.down), ow = (int)(column / (unsigned)s.right);
    readers.last_oh = oh < s.out_height ? oh : s.out_height - 1;
    readers.last_ow = ow < s.out_width ? ow : s.out_width - 1;
    readers.first_kh = (int)row - readers.last_oh * s.down;
    readers.first_kw = (int)column - readers.last_ow * s.right;
    return readers;
}

// The sum of term(oh, ow, kh, kw) over those windows, in the row-major order of (kh, kw).
template <typename T, typename Term>
DEVICE T sum_over_readers(const Readers& readers, const Sizes& s, Term term) {
    T sum = T(0);
    for (int oh = readers.last_oh, kh = readers.first_kh; oh >= 0 && kh < s.tall;
         --oh, kh += s.down)
        for (int ow = readers.last_ow, kw = readers.first_kw; ow >= 0 && kw < s.wide;
             --ow, kw += s.right)
            sum += term(oh, ow, kh, kw);
    return sum;
}

// The adjoint of im2col: x[n, h, w, c] = the sum of the columns that it was copied to.
template <typename T>
__global__ void col2im(const T* __restrict__ columns, T* __restrict__ x, SIZE_PARAMETERS) {
    const Sizes s = sizes_of<0>(SIZE_ARGUMENTS);
    if (my_element() >= s.image()) return;
    const Readers readers = readers_of((unsigned)my_element(), s);
    const int per_window = s.tall * s.wide * s.channels;
    for (long long n = blockIdx.y; n < s.images; n += gridDim.y) {
        const T* image = columns + n * s.out_height * s.out_width * per_window;
        x[n * s.image() + my_element()] =
            sum_over_readers<T>(readers, s, [&](int oh, int ow, int kh, int kw) {
                const int window = (oh * s.out_width + ow) * per_window;
                return image[window + (kh * s.wide + kw) * s.channels + readers.c];
            });
    }
}

// Where in its image the window of one output begins. Pools have no padding.
DEVICE int corner_of(unsigned element, const Sizes& s) {
    const unsigned c = element % (unsigned)s.channels; element /= (unsigned)s.channels;
    const unsigned oh = element / (unsigned)s.out_width, ow = element % (unsigned)s.out_width;
    return s.pixel((int)oh * s.down, (int)ow * s.right, (int)c);
}

// y = the largest pixel of each window, NaN where there is one; winners = its place kh wide + kw,
// the first of equals.
template <typename T, typename Winner, int EDGE, typename Y = T>
__global__ void max_pool2d(const T* __restrict__ x, Y* __restrict__ y,
                           Winner* __restrict__ winners, SIZE_PARAMETERS) {
    const Sizes s = sizes_of<EDGE>(SIZE_ARGUMENTS);
    if (my_element() >= s.output()) return;
    const int corner = corner_of((unsigned)my_element(), s);
    for (long long n = blockIdx.y; n < s.images; n += gridDim.y) {
        const T* window = x + n * s.image() + corner;
        T largest = window[0];
        int winner = 0;
        for (int kh = 0; kh < s.tall; ++kh)
            for (int kw = 0; kw < s.wide; ++kw) {
                const T pixel = window[s.pixel(kh, kw, 0)];
                if (pixel > largest) winner = kh * s.wide + kw;
                if (pixel > largest || pixel != pixel) largest = pixel;  // nothing exceeds a NaN
            }
        y[n * s.output() + my_element()] = Y(largest);
        winners[n * s.output() + my_element()] = (Winner)winner;
    }
}

// The same with all of several equals: winners[kh wide + kw, n, oh, ow, c] = whether it is one.
template <typename T, int EDGE>
__global__ void max_pool2d_ties(const T* __restrict__ x, T* __restrict__ y,
                                bool* __restrict__ winners, SIZE_PARAMETERS) {
    const Sizes s = sizes_of<EDGE>(SIZE_ARGUMENTS);
    if (my_element() >= s.output()) return;
    const int corner = corner_of((unsigned)my_element(), s);
    for (long long n = blockIdx.y; n < s.images; n += gridDim.y) {
        const T* window = x + n * s.image() + corner;
        T largest = window[0];
        for (int kh = 0; kh < s.tall; ++kh)
            for (int kw = 0; kw < s.wide; ++kw) {
                const T pixel = window[s.pixel(kh, kw, 0)];
                if (pixel > largest || pixel != pixel) largest = pixel;
            }
        y[n * s.output() + my_element()] = largest;
        bool* winner = winners + n * s.output() + my_element();
        for (int kh = 0; kh < s.tall; ++kh)
            for (int kw = 0; kw < s.wide; ++kw, winner += s.images * s.output())
                *winner = window[s.pixel(kh, kw, 0)] == largest;
    }
}

template <typename Winner>
DEVICE bool wins(const Winner* winners, long long output, int place, const Sizes& s) {
    return winners[output] == place;
}

DEVICE bool wins(const bool* winners, long long output, int place, const Sizes& s) {
    return winners[place * s.images * s.output() + output];
}

// dx[n, h, w, c] = the sum of dy over the windows that the pixel wins; `winners` of either kind. With a
// gate (null: none), of dy's shape, dy counts where that is above 0.
template <typename T, typename Winner, int EDGE, typename Dx = T>
__global__ void max_pool2d_backward(const T* __restrict__ dy,
                                    const Winner* __restrict__ winners,
                                    const T* __restrict__ gate, Dx* __restrict__ dx,
                                    SIZE_PARAMETERS) {
    const Sizes s = sizes_of<EDGE>(SIZE_ARGUMENTS);
    if (my_element() >= s.image()) return;
    const Readers readers = readers_of((unsigned)my_element(), s);
    for (long long n = blockIdx.y; n < s.images; n += gridDim.y)
        dx[n * s.image() + my_element()] =
            Dx(sum_over_readers<SumOf<T>>(readers, s, [&](int oh, int ow, int kh, int kw) {
                const long long output = n * s.output() + s.place(oh, ow, readers.c);
                const bool counts = !gate || gate[output] > 0;
                const bool is_winner = counts && wins(winners, output, kh * s.wide + kw, s);
                return is_winner ? SumOf<T>(dy[output]) : SumOf<T>(0);
            }));
}

// y[n, oh, ow, c] = what x holds where the window has its winner.
template <typename T, typename Winner, int EDGE, typename Y = T>
__global__ void at_winners(const T* __restrict__ x, const Winner* __restrict__ winners,
                           Y* __restrict__ y, SIZE_PARAMETERS) {
    const Sizes s = sizes_of<EDGE>(SIZE_ARGUMENTS);
    if (my_element() >= s.output()) return;
    const int corner = corner_of((unsigned)my_element(), s);
    for (long long n = blockIdx.y; n < s.images; n += gridDim.y) {
        const long long output = n * s.output() + my_element();
        const int place = (int)winners[output];
        y[output] = Y(x[n * s.image() + corner + s.pixel(place / s.wide, place % s.wide, 0)]);
    }
}

// y = the mean of each window.
template <typename T, int EDGE>
__global__ void avg_pool2d(const T* __restrict__ x, T* __restrict__ y, SIZE_PARAMETERS) {
    const Sizes s = sizes_of<EDGE>(SIZE_ARGUMENTS);
    if (my_element() >= s.output()) return;
    const int corner = corner_of((unsigned)my_element(), s);
    for (long long n = blockIdx.y; n < s.images; n += gridDim.y) {
        const T* window = x + n * s.image() + corner;
        T sum = T(0);
        for (int kh = 0; kh < s.tall; ++kh)
            for (int kw = 0; kw < s.wide; ++kw) sum += window[s.pixel(kh, kw, 0)];
        y[n * s.output() + my_element()] = sum / (T)(s.tall * s.wide);
    }
}

// dx[n, h, w, c] = the sum of dy, shared out equally, over the windows that read the pixel.
template <typename T, int EDGE>
__global__ void avg_pool2d_backward(const T* __restrict__ dy, T* __restrict__ dx,
                                    SIZE_PARAMETERS) {
    const Sizes s = sizes_of<EDGE>(SIZE_ARGUMENTS);
    if (my_element() >= s.image()) return;
    const Readers readers = readers_of((unsigned)my_element(), s);
    for (long long n = blockIdx.y; n < s.images; n += gridDim.y)
        dx[n * s.image() + my_element()] =
            sum_over_readers<T>(readers, s, [&](int oh, int ow, int, int) {
                return dy[n * s.output() + s.place(oh, ow, readers.c)] / (T)(s.tall * s.wide);
            });
}
