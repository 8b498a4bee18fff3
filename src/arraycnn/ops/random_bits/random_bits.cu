// Threefry-2x32 with 13 rounds, and dropout: bit for bit as ops/random_bits/__init__.py and ops/generic.py.
// A thread turns counter (index of the image, e) into two words of that image:
//
//   word     0  1  ..  half - 1 | half  half + 1  ..  count - 1       half = (count + 1) / 2
//   from e = 0  1  ..  half - 1 |  0       1      ..
#include "elements.cuh"

struct Pair {
    unsigned x, y;
};

DEVICE unsigned rotate_left(unsigned x, int distance) {
    return x << distance | x >> (32 - distance);
}

DEVICE Pair threefry2x32(Pair key, Pair counter) {
    constexpr int ROUNDS = 13;
    constexpr int ROTATIONS[] = {13, 15, 26, 6, 17, 29, 16, 24};
    const unsigned keys[] = {key.x, key.y, key.x ^ key.y ^ 0x1BD11BDAu};
    unsigned x = counter.x + keys[0], y = counter.y + keys[1];
#pragma unroll
    for (int round = 0; round < ROUNDS; ++round) {
        x += y;
        y = x ^ rotate_left(y, ROTATIONS[round % 8]);
        if (round % 4 == 3) {
            const int turn = round / 4 + 1;
            x += keys[turn % 3];
            y += keys[(turn + 1) % 3] + (unsigned)turn;
        }
    }
    return {x, y};
}

// Calls use(number of the image in the batch, place of the word in it, word) for all words of this
// thread.
template <typename Use>
DEVICE void for_each_word(const int* seed, const int* step, int layer, const int* indices,
                          long long images, long long count, Use use) {
    const long long half = (count + 1) / 2;
    const long long element = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (element >= half) return;
    const Pair key = threefry2x32({(unsigned)seed[0], (unsigned)seed[1]},
                                  {(unsigned)step[0], (unsigned)layer});
    for (long long n = blockIdx.y; n < images; n += gridDim.y) {
        const Pair words = threefry2x32(key, {(unsigned)indices[n], (unsigned)element});
        use(n, element, (int)words.x);
        if (half + element < count) use(n, half + element, (int)words.y);
    }
}

__global__ void random_bits(const int* seed, const int* step, long long layer, const int* indices,
                            int* words, long long images, long long count) {
    for_each_word(seed, step, (int)layer, indices, images, count,
                  [&](long long n, long long place, int word) { words[n * count + place] = word; });
}

// Words below the threshold drop their number; the others divide it by `kept`, which is 1 - rate.
template <typename T>
__global__ void dropout(const T* __restrict__ x, T* __restrict__ y, bool* __restrict__ keep,
                        const int* seed, const int* step, long long layer, const int* indices,
                        long long images, long long count, long long threshold, T kept) {
    for_each_word(seed, step, (int)layer, indices, images, count,
                  [&](long long n, long long place, int word) {
                      const long long i = n * count + place;
                      keep[i] = word >= threshold;
                      y[i] = word >= threshold ? x[i] / kept : T(0);
                  });
}

template <typename T>
__global__ void dropout_backward(const T* __restrict__ dy, const bool* __restrict__ keep,
                                 T* __restrict__ dx, long long count, T kept) {
    for_each_element(count, [&](long long i) { dx[i] = keep[i] ? dy[i] / kept : T(0); });
}
