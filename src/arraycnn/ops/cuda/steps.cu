// The first and the last kernel of a recorded training step: they read from tables on the device what
// differs from step to step, at a cursor that the last kernel moves on.
#include "device.cuh"

// indices[i] = order[cursor batch + i], labels[i] = all_labels[indices[i]], rows[i] likewise from
// its table; the step's number and learning rate from theirs.
template <typename T>
__global__ void begin_step(const int* order, const int* all_rows, const int* all_labels,
                           const int* steps, const T* rates, const int* cursor, int* indices,
                           int* rows, int* labels, int* step, T* rate, long long batch) {
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    const long long place = cursor[0];
    if (i < batch) {
        const int index = order[place * batch + i];
        indices[i] = index;
        rows[i] = all_rows[place * batch + i];
        labels[i] = all_labels[index];
    }
    if (i == 0) {
        step[0] = steps[place];
        rate[0] = rates[place];
    }
}

// losses[cursor] = loss_sum / batch, correct_counts[cursor] = correct; then the cursor moves on.
template <typename T>
__global__ void finish_step(const T* loss_sum, const int* correct, int* cursor, T* losses, int* correct_counts,
                            long long batch) {
    if (threadIdx.x != 0) return;
    const int place = cursor[0];
    losses[place] = loss_sum[0] / (T)batch;
    correct_counts[place] = correct[0];
    cursor[0] = place + 1;
}
