// The end of a classifier, a dense layer and softmax cross-entropy, forward and backward in two
// kernels: a small network's step is as long as the number of its kernels.
//
//   logits (N, K) = x (N, I) weight (I, K) + bias;  dlogits = (softmax - one hot) / batch_size
//   dx = dlogits weight';  dweight = x' dlogits;  dbias, loss and is_correct: sums over the images
#include "warps.cuh"

constexpr int THREADS = 256;
constexpr int MOST_CLASSES = 128;

// One block an image. For the logits a thread takes one class and every `slices`-th input, so that
// neighbours read neighbouring weights:
//
//   thread  0 1 .. K-1 | K .. 2K-1 | ...     class = thread % K
//   input   0 0 ..  0  | 1 ..   1  | ...     then + slices
template <typename T>
__global__ void classify(const T* x, const T* weight, const T* bias, const int* labels, T* dlogits,
                         T* dx, T* losses, int* is_correct, long long inputs, long long classes,
                         long long batch_size) {
    __shared__ T partial[THREADS];
    __shared__ T row[MOST_CLASSES];  // the image's logits, then their gradient
    const int thread = threadIdx.x, count = (int)classes;
    const int slices = THREADS / count;
    const T* image = x + blockIdx.x * inputs;

    T sum = T(0);
#pragma unroll 8  // as many loads are under way
    for (int i = thread / count; i < (int)inputs; i += slices)
        sum += image[i] * weight[i * count + thread % count];
    partial[thread] = sum;  // what the threads after the last whole slice have is not used
    __syncthreads();
    if (thread < count) {
        T logit = bias ? bias[thread] : T(0);
        for (int slice = 0; slice < slices; ++slice) logit += partial[slice * count + thread];
        row[thread] = logit;
    }
    __syncthreads();

    if (thread < WARP) {
        const Placed<T> largest = warp_largest_of(row, count, thread);
        T total = T(0);
        for (int k = thread; k < count; k += WARP) total += exp(row[k] - largest.value);
        total = warp_sum(total);
        const int label = labels[blockIdx.x];
        if (thread == 0) {
            losses[blockIdx.x] = log(total) - (row[label] - largest.value);
            is_correct[blockIdx.x] = largest.place == label;
        }
        __syncwarp();  // lane 0 has read the label's logit: now the row may change
        for (int k = thread; k < count; k += WARP) {
            const T share = exp(row[k] - largest.value) / total - (k == label ? T(1) : T(0));
            row[k] = share / (T)batch_size;
            dlogits[blockIdx.x * classes + k] = row[k];
        }
    }
    __syncthreads();

    if (dx)
        for (long long i = thread; i < inputs; i += THREADS) {
            T gradient = T(0);
#pragma unroll 8
            for (int k = 0; k < count; ++k) gradient += row[k] * weight[i * count + k];
            dx[blockIdx.x * inputs + i] = gradient;
        }
}

// A thread for each number of dweight, then of dbias, summed over the images in order; the first warp
// of the last block sums losses and is_correct.
template <typename T>
__global__ void classify_sums(const T* x, const T* dlogits, const T* losses, const int* is_correct,
                              T* dweight, T* dbias, T* loss_sum, int* correct, long long images,
                              long long inputs, long long classes) {
    if (blockIdx.x == gridDim.x - 1) {
        if (threadIdx.x >= WARP) return;
        T loss = T(0);
        int right = 0;
        for (long long n = threadIdx.x; n < images; n += WARP) loss += losses[n], right += is_correct[n];
        loss = warp_sum(loss);
        right = warp_sum(right);
        if (threadIdx.x == 0) loss_sum[0] = loss, correct[0] = right;
        return;
    }
    const unsigned element = blockIdx.x * blockDim.x + threadIdx.x;
    const unsigned weights = (unsigned)(inputs * classes), k = element % (unsigned)classes;
    if (element >= weights + classes) return;
    T sum = T(0);
    if (element < weights) {
        const unsigned i = element / (unsigned)classes;
#pragma unroll 8
        for (int n = 0; n < (int)images; ++n) sum += x[n * inputs + i] * dlogits[n * classes + k];
        dweight[element] = sum;
    } else {
#pragma unroll 8
        for (int n = 0; n < (int)images; ++n) sum += dlogits[n * classes + k];
        dbias[k] = sum;
    }
}
