// What CuPy's own kernels expect of its headers, for g++: arrays, indices, and a loop over them. The
// members are in CuPy's order, since it passes these structures by value.
using ptrdiff_t = long;
using size_t = unsigned long;

template <bool FIRST, class A, class B> struct Either { using Type = A; };
template <class A, class B> struct Either<false, A, B> { using Type = B; };

template <typename T, int N, bool CONTIGUOUS = false, bool SMALL = false> class CArray {
    T* data_;
    ptrdiff_t size_;
    ptrdiff_t shape_[N];
    ptrdiff_t strides_[N];  // bytes

    T& at(ptrdiff_t bytes) const {
        return *reinterpret_cast<T*>(reinterpret_cast<char*>(const_cast<T*>(data_)) + bytes);
    }

public:
    static const int ndim = N;
    using index_t = typename Either<SMALL, int, ptrdiff_t>::Type;

    ptrdiff_t size() const { return size_; }
    const ptrdiff_t* shape() const { return shape_; }
    const ptrdiff_t* strides() const { return strides_; }

    template <typename I> T& operator[](const I (&index)[N]) const {
        ptrdiff_t bytes = 0;
        for (int axis = 0; axis < N; ++axis) bytes += strides_[axis] * ptrdiff_t(index[axis]);
        return at(bytes);
    }

    T& operator[](ptrdiff_t place) const {
        if (CONTIGUOUS) return const_cast<T&>(data_[place]);
        ptrdiff_t bytes = 0;
        for (int axis = N; --axis > 0; place /= shape_[axis])
            bytes += strides_[axis] * (place % shape_[axis]);
        return at(bytes + strides_[0] * place);
    }
};

template <typename T, bool SMALL> class CArray<T, 0, true, SMALL> {
    T* data_;
    ptrdiff_t size_;

public:
    static const int ndim = 0;
    using index_t = typename Either<SMALL, int, ptrdiff_t>::Type;

    ptrdiff_t size() const { return size_; }
    template <typename I> T& operator[](const I&) const { return *const_cast<T*>(data_); }
};

template <int N, bool SMALL = false> class CIndexer {
    ptrdiff_t size_;
    ptrdiff_t shape_[N];
    ptrdiff_t index_[N];
    using Place = ptrdiff_t[N];

public:
    static const int ndim = N;

    ptrdiff_t size() const { return size_; }
    const Place& get() const { return index_; }
    void set(ptrdiff_t place) {
        for (int axis = N; --axis > 0; place /= shape_[axis]) index_[axis] = place % shape_[axis];
        index_[0] = place;
    }
};

template <bool SMALL> class CIndexer<0, SMALL> {
    ptrdiff_t size_;

public:
    static const int ndim = 0;

    ptrdiff_t size() const { return size_; }
    void set(ptrdiff_t) {}
    const ptrdiff_t* get() const { return nullptr; }
};

#define CUPY_FOR(i, count)                                                          \
    for (ptrdiff_t i = (ptrdiff_t)blockIdx.x * blockDim.x + threadIdx.x; i < (count); \
         i += (ptrdiff_t)blockDim.x * gridDim.x)

#define CUDART_NAN_F __builtin_nanf("")
#define CUDART_NAN __builtin_nan("")
#define CUDART_INF_F __builtin_inff()
#define CUDART_INF __builtin_inf()
#define assert(condition)

extern "C" double rint(double) noexcept;

// What CuPy divides by for `//`: rounded down; a whole number by 0 is 0.
template <typename T> T _floor_divide(T x, T y) {
    if (T(0.5) != T(0)) return T(__builtin_floor(x / y));
    if (y == 0) return 0;
    const T quotient = x / y;
    return (x < 0) != (y < 0) && quotient * y != x ? quotient - 1 : quotient;
}

struct float16 {  // in signatures only
    unsigned short bits;
};
