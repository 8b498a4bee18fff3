// Neighbouring numbers, as one thread moves them at once.
#pragma once
#include "device.cuh"

template <typename T, int COUNT>
struct alignas(sizeof(T) * COUNT) Pack {
    T at[COUNT];
};

// What numbers of a type are added up as.
template <typename T> struct Summed { using Type = T; };
template <> struct Summed<Bfloat16> { using Type = float; };
template <typename T> using SumOf = typename Summed<T>::Type;

// Numbers as a thread holds them: of bfloat16 two neighbours a word.
template <typename T, int COUNT> struct Held { using Type = Pack<T, COUNT>; };
template <int COUNT> struct Held<Bfloat16, COUNT> { using Type = Pack<unsigned, COUNT / 2>; };
template <> struct Held<Bfloat16, 1> { using Type = Pack<Bfloat16, 1>; };

// 0 in place of the values whose gates are not above 0.
template <typename T, int COUNT>
DEVICE void shut(Pack<T, COUNT>& values, const Pack<T, COUNT>& gates) {
#pragma unroll
    for (int i = 0; i < COUNT; ++i)
        if (!(gates.at[i] > 0)) values.at[i] = T(0);
}
template <int COUNT>
DEVICE void shut(Pack<unsigned, COUNT>& values, const Pack<unsigned, COUNT>& gates) {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
        if (!(__uint_as_float(gates.at[i] << 16) > 0)) values.at[i] &= 0xffff0000u;
        if (!(__uint_as_float(gates.at[i] & 0xffff0000u) > 0)) values.at[i] &= 0x0000ffffu;
    }
}

// Neighbours into memory, where COUNT of them may be written at once; rounded where that holds rounded ones.
template <typename T, int COUNT>
DEVICE void put(T* place, const Pack<T, COUNT>& values) {
    *reinterpret_cast<Pack<T, COUNT>*>(place) = values;
}
template <int COUNT>
DEVICE void put(TensorFloat32* place, const Pack<float, COUNT>& values) {
    Pack<TensorFloat32, COUNT> rounded;
#pragma unroll
    for (int i = 0; i < COUNT; ++i) rounded.at[i] = TensorFloat32(values.at[i]);
    put(place, rounded);
}
template <int COUNT>
DEVICE void put(Bfloat16* place, const Pack<unsigned, COUNT>& words) {
    *reinterpret_cast<Pack<unsigned, COUNT>*>(place) = words;
}
template <int COUNT>
DEVICE void put(Bfloat16* place, const Pack<float, COUNT>& values) {
    if constexpr (COUNT == 1) {
        *place = Bfloat16(values.at[0]);
    } else {
        Pack<unsigned, COUNT / 2> words;
#pragma unroll
        for (int i = 0; i < COUNT / 2; ++i)
            words.at[i] = pack_bf16(values.at[2 * i], values.at[2 * i + 1]);
        put(place, words);
    }
}
