// One step of an optimizer for up to MOST_TENSORS parameter tensors: blockIdx.y is the tensor, the
// blocks along x share its numbers. Operations are in the order of ops/generic.py. Updated tensors
// may be the old ones: a thread has read a number before it writes it, and no other reads it.
#include "device.cuh"

constexpr int MOST_TENSORS = 32;  // as in optimizers.py

// Where tensors lie: by value, so that no table need be on the device before.
struct Addresses {
    long long address[MOST_TENSORS];
};

template <typename T>
DEVICE T* mine(const Addresses& tensors) {
    return (T*)tensors.address[blockIdx.y];
}

// Calls use(i) for the numbers of this thread. A tensor is as long as from its first number to its
// last.
template <typename T, typename Use>
DEVICE void for_each_number(const T* first, const T* last, Use use) {
    const long long count = last - first + 1;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count;
         i += (long long)gridDim.x * blockDim.x)
        use(i);
}

template <typename T>
__global__ void sgd_update(Addresses parameters, Addresses last_numbers, Addresses gradients,
                           Addresses velocities, Addresses new_parameters,
                           Addresses new_velocities, const T* learning_rate, T momentum,
                           T weight_decay, long long nesterov) {
    const T* p = mine<const T>(parameters);
    const T* g = mine<const T>(gradients);
    const T* v = mine<const T>(velocities);
    T* new_p = mine<T>(new_parameters);
    T* new_v = mine<T>(new_velocities);
    const T rate = *learning_rate;
    for_each_number(p, mine<const T>(last_numbers), [&](long long i) {
        T gradient = g[i];
        if (weight_decay != T(0)) gradient += weight_decay * p[i];
        T direction = gradient;
        if (momentum != T(0)) {
            const T velocity = momentum * v[i] + gradient;
            new_v[i] = velocity;
            direction = nesterov ? gradient + momentum * velocity : velocity;
        }
        new_p[i] = p[i] - rate * direction;
    });
}

// beta1^t and beta2^t of one more step; before adam_update, which reads the new ones.
template <typename T>
__global__ void adam_decays(const T* first, const T* second, T* new_first, T* new_second, T beta1,
                            T beta2) {
    if (threadIdx.x > 0) return;
    *new_first = *first * beta1;
    *new_second = *second * beta2;
}

// `left1` is 1 - beta1, and so on: rounded once, from double, as the generic kernel has it.
template <typename T>
__global__ void adam_update(Addresses parameters, Addresses last_numbers, Addresses gradients,
                            Addresses first_moments, Addresses second_moments,
                            Addresses new_parameters, Addresses new_first_moments,
                            Addresses new_second_moments, const T* decay1, const T* decay2,
                            const T* learning_rate, T beta1, T left1, T beta2, T left2, T epsilon,
                            T weight_decay, long long decoupled) {
    const T* p = mine<const T>(parameters);
    const T* g = mine<const T>(gradients);
    const T* m = mine<const T>(first_moments);
    const T* v = mine<const T>(second_moments);
    T* new_p = mine<T>(new_parameters);
    T* new_m = mine<T>(new_first_moments);
    T* new_v = mine<T>(new_second_moments);
    const T rate = *learning_rate;
    const T step_size = rate / (T(1) - *decay1);
    const T root_correction = sqrt(T(1) - *decay2);
    for_each_number(p, mine<const T>(last_numbers), [&](long long i) {
        T parameter = p[i], gradient = g[i];
        if (weight_decay != T(0)) {
            if (decoupled)
                parameter -= (rate * weight_decay) * parameter;
            else
                gradient += weight_decay * parameter;
        }
        const T first = beta1 * m[i] + left1 * gradient;
        const T second = beta2 * v[i] + left2 * (gradient * gradient);
        new_m[i] = first;
        new_v[i] = second;
        new_p[i] = parameter - step_size * (first / (sqrt(second) / root_correction + epsilon));
    });
}
