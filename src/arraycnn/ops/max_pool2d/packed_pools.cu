// The plain max-pool, windows of 2 x 2 side by side: a thread has PACK neighbouring channels of a window,
// which it reads and writes at once. Axes and the winner as in windows.cu; channels are whole packs.
#include "packs.cuh"

constexpr int EDGE = 2;

#define SIZE_PARAMETERS long long images, long long height, long long width, long long packs
#define SIZE_ARGUMENTS images, height, width, packs

// A window of an image, also one that reaches beyond it, and the pack of channels in it.
struct Place {
    int row, column, pack;
    bool exists;

    DEVICE Place(int rows, int columns, int packs) {
        const long long element = (long long)blockIdx.x * blockDim.x + threadIdx.x;
        exists = element < (long long)rows * columns * packs;
        pack = (int)((unsigned)element % (unsigned)packs);
        const unsigned window = (unsigned)element / (unsigned)packs;
        row = (int)(window / (unsigned)columns);
        column = (int)(window % (unsigned)columns);
    }
};

// y = the largest pixel of each window, NaN where there is one; winners = its place, the first of equals.
template <typename X, typename Y, int PACK>
__global__ void __launch_bounds__(256)
max_pool2d(const X* __restrict__ x, Y* __restrict__ y, unsigned char* __restrict__ winners,
           SIZE_PARAMETERS) {
    const int rows = (int)height / EDGE, columns = (int)width / EDGE;
    const Place mine(rows, columns, (int)packs);
    if (!mine.exists) return;
    const int corner = (mine.row * EDGE * (int)width + mine.column * EDGE) * (int)packs + mine.pack;
    const int place = (mine.row * columns + mine.column) * (int)packs + mine.pack;
    for (long long n = blockIdx.y; n < images; n += gridDim.y) {
        const auto* image = reinterpret_cast<const Pack<X, PACK>*>(x) + n * height * width * packs;
        Pack<X, PACK> pixels[EDGE * EDGE];
#pragma unroll
        for (int p = 0; p < EDGE * EDGE; ++p)
            pixels[p] = image[corner + (p / EDGE * (int)width + p % EDGE) * (int)packs];
        Pack<Y, PACK> largest;
        Pack<unsigned char, PACK> winner;
#pragma unroll
        for (int i = 0; i < PACK; ++i) {
            auto best = pixels[0].at[i];
            winner.at[i] = 0;
#pragma unroll
            for (int p = 1; p < EDGE * EDGE; ++p) {
                const auto pixel = pixels[p].at[i];
                if (pixel > best) winner.at[i] = (unsigned char)p;
                if (pixel > best || pixel != pixel) best = pixel;  // nothing exceeds a NaN
            }
            largest.at[i] = Y(best);
        }
        const long long output = n * rows * columns * packs + place;
        reinterpret_cast<Pack<Y, PACK>*>(y)[output] = largest;
        reinterpret_cast<Pack<unsigned char, PACK>*>(winners)[output] = winner;
    }
}

// dx = dy where the pixel has won its window and, with a gate (null: none), that is above 0; else 0.
template <typename Dy, typename Dx, int PACK>
__global__ void __launch_bounds__(256)
max_pool2d_backward(const Dy* __restrict__ dy, const unsigned char* __restrict__ winners,
                    const Dy* __restrict__ gate, Dx* __restrict__ dx, SIZE_PARAMETERS) {
    using Values = typename Held<Dy, PACK>::Type;
    const int rows = (int)height / EDGE, columns = (int)width / EDGE;
    const Place mine(((int)height + EDGE - 1) / EDGE, ((int)width + EDGE - 1) / EDGE, (int)packs);
    if (!mine.exists) return;
    const bool is_window = mine.row < rows && mine.column < columns;  // else nothing won there
    const int place = (mine.row * columns + mine.column) * (int)packs + mine.pack;
    for (long long n = blockIdx.y; n < images; n += gridDim.y) {
        const long long output = n * rows * columns * packs + place;
        union {
            Values values;
            Pack<Dy, PACK> numbers;
        } gradient = {Values{}};
        Pack<unsigned char, PACK> winner = {};
        if (is_window) {
            gradient.values = reinterpret_cast<const Values*>(dy)[output];
            winner = reinterpret_cast<const Pack<unsigned char, PACK>*>(winners)[output];
            if (gate) shut(gradient.values, reinterpret_cast<const Values*>(gate)[output]);
        }
        auto* image = reinterpret_cast<Pack<Dx, PACK>*>(dx) + n * height * width * packs;
#pragma unroll
        for (int p = 0; p < EDGE * EDGE; ++p) {
            const int row = mine.row * EDGE + p / EDGE, column = mine.column * EDGE + p % EDGE;
            if (row >= (int)height || column >= (int)width) continue;
            Pack<Dx, PACK> pixel;
#pragma unroll
            for (int i = 0; i < PACK; ++i)
                pixel.at[i] = winner.at[i] == p ? Dx(gradient.numbers.at[i]) : Dx(0);
            image[(row * (int)width + column) * (int)packs + mine.pack] = pixel;
        }
    }
}
