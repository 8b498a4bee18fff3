// What is done to the numbers of a product before they are stored, while they are in registers.
//
// An epilogue is a struct with an operator (value, line, column): the number that y holds in that
// column of that line, y seen as lines of its last axis. Where several blocks share a sum, it is done
// to the whole one alone, in tiles.cu. Any struct will do, `Epilogue` of tiles.py says how one is
// passed; these are what layers do.
#pragma once
#include "device.cuh"

// Nothing: a type of its own, so that compilers need not read code for what is not there.
struct AsIs {
    long long none;

    template <typename T>
    DEVICE T operator()(T value, long long, long long) const {
        return value;
    }
};

// A column's bias is added (null: none); then, if `relu`, a negative number becomes 0.
template <typename T>
struct BiasRelu {
    const T* bias;
    long long relu;

    DEVICE T operator()(T value, long long line, long long column) const {
        if (bias) value += bias[column];
        return relu && value < 0 ? T(0) : value;  // keeps NaN
    }
};
