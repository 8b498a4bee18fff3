// CUDA C++ as g++ reads it: what a .cu file takes for granted, for kernels run by runtime.cpp.
//
// Included before the text of a .cu file. Nothing from the standard library is included, so that a
// kernel compiles quickly and cannot use by accident what a device does not have. What is not here
// does not compile: float atomics, for instance, since their sums depend on the order.
#pragma once

namespace hc {

using Size = decltype(sizeof 0);

struct Index {
    unsigned x, y, z;
};

// A place in the source.
struct Site {
    const char* file;
    int line;
};

// What a lane shows the others of its warp.
struct alignas(32) Slot {
    unsigned char bytes[32];
};

enum class Stop { none, barrier, barrier_count, sync_warp, shuffle, ballot, load_matrices, mma_tf32, mma_bf16, end };

struct Thread {
    Index index;
    int number;  // row-major, x fastest
    Stop stop;
    Site site;
    int value;         // shown at a barrier that counts
    unsigned shown;    // how often it has shown a slot
    void* stack;       // the lowest address
    void* stack_pointer;
};

extern Thread* current __attribute__((visibility("hidden")));
extern Index block_index __attribute__((visibility("hidden")));
extern Index block_size __attribute__((visibility("hidden")));
extern Index grid_size __attribute__((visibility("hidden")));
extern unsigned char* dynamic_shared __attribute__((visibility("hidden")));

// Threads of the block wait for each other; how many of them gave a `value` other than 0.
int barrier(Stop kind, int value, Site site);
// The lanes of the warp wait for each other; slots of all of them, valid until the next but one.
const Slot* exchange(Stop kind, unsigned mask, const void* mine, Size bytes, Site site);
void issue_copy(void* shared, const void* global, int bytes, bool valid, Site site);
void commit_copies();
void wait_for_copies(int pending);
void about_to_read(const void* address, int bytes, Site site);
void about_to_change_atomically(void* target, int bytes, Site site);
void fence();
void must_be_line(const void* line, Site site);
void must_be_tf32(const unsigned* numbers, int count, Site site);
[[noreturn]] void trap(Site site);

// Of the numbers in `__launch_bounds__`, the most threads of a block.
template <class... Rest> constexpr int first_of(int first, Rest...) { return first; }

// The bounds of static shared memory (build.py makes a section of it), null where a kernel has none.
#define HC_SHARED_SECTION                                                                   \
    extern unsigned char __start_cuda_shared[] __attribute__((weak, visibility("hidden"))); \
    extern unsigned char __stop_cuda_shared[] __attribute__((weak, visibility("hidden")));

// Last parameters of what a kernel calls: the place of the call.
#define HC_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()
#define HC_HERE (hc::Site{file, line})

template <class T>
T value_of(const Slot& slot) {
    T value;
    __builtin_memcpy(&value, slot.bytes, sizeof value);
    return value;
}

inline float float_of(unsigned bits) {
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

inline unsigned bits_of(float value) {
    unsigned bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return bits;
}

}  // namespace hc

// -- words of the language ---------------------------------------------------------------------

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __constant__ static const
#define __shared__ static  // its section is poisoned before each block: see __init__.py
#define __grid_constant__

#define threadIdx (hc::current->index)
#define blockIdx (hc::block_index)
#define blockDim (hc::block_size)
#define gridDim (hc::grid_size)
#define warpSize 32

#define DEVICE inline
#define DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(hc::dynamic_shared)

// -- waiting -----------------------------------------------------------------------------------

inline void __syncthreads(HC_SITE) { hc::barrier(hc::Stop::barrier, 0, HC_HERE); }
inline int __syncthreads_count(int predicate, HC_SITE) {
    return hc::barrier(hc::Stop::barrier_count, predicate, HC_HERE);
}
inline int __syncthreads_or(int predicate, HC_SITE) {
    return hc::barrier(hc::Stop::barrier_count, predicate, HC_HERE) != 0;
}
inline int __syncthreads_and(int predicate, HC_SITE) {
    return hc::barrier(hc::Stop::barrier_count, predicate == 0, HC_HERE) == 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, HC_SITE) {
    hc::exchange(hc::Stop::sync_warp, mask, &mask, sizeof mask, HC_HERE);
}
inline void __threadfence() { hc::fence(); }
inline void __threadfence_block() {}
inline void __trap(HC_SITE) { hc::trap(HC_HERE); }

// -- warps -------------------------------------------------------------------------------------

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, HC_SITE) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a device shuffles 4 or 8 bytes");
    const hc::Slot* slots = hc::exchange(hc::Stop::shuffle, mask, &value, sizeof value, HC_HERE);
    const int lane = hc::current->number % 32;
    return hc::value_of<T>(slots[(lane & ~(width - 1)) | (source & (width - 1))]);
}

template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32, HC_SITE) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a device shuffles 4 or 8 bytes");
    const hc::Slot* slots = hc::exchange(hc::Stop::shuffle, mask, &value, sizeof value, HC_HERE);
    const int lane = hc::current->number % 32, source = lane - (int)distance;
    return hc::value_of<T>(slots[source >= (lane & ~(width - 1)) ? source : lane]);
}

template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32, HC_SITE) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a device shuffles 4 or 8 bytes");
    const hc::Slot* slots = hc::exchange(hc::Stop::shuffle, mask, &value, sizeof value, HC_HERE);
    const int lane = hc::current->number % 32, source = lane + (int)distance;
    return hc::value_of<T>(slots[source <= (lane | (width - 1)) ? source : lane]);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int turned, int width = 32, HC_SITE) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a device shuffles 4 or 8 bytes");
    const hc::Slot* slots = hc::exchange(hc::Stop::shuffle, mask, &value, sizeof value, HC_HERE);
    const int lane = hc::current->number % 32, source = lane ^ turned;
    return hc::value_of<T>(slots[source <= (lane | (width - 1)) ? source : lane]);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, HC_SITE) {
    const hc::Slot* slots = hc::exchange(hc::Stop::ballot, mask, &predicate, sizeof predicate, HC_HERE);
    unsigned votes = 0;
    for (int lane = 0; lane < 32; ++lane) votes |= (unsigned)(hc::value_of<int>(slots[lane]) != 0) << lane;
    return votes;
}
inline int __any_sync(unsigned mask, int predicate, HC_SITE) {
    return __ballot_sync(mask, predicate, file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, HC_SITE) {
    return __ballot_sync(mask, predicate, file, line) == 0xffffffffu;
}

// -- atomics of integers -----------------------------------------------------------------------

#define HC_ATOMIC(name, T, result)                                                       \
    __attribute__((noinline, no_sanitize_thread)) inline T name(T* target, T value, HC_SITE) { \
        hc::about_to_change_atomically(target, sizeof(T), HC_HERE);                         \
        const T before = *target;                                                        \
        *target = (result);                                                              \
        return before;                                                                   \
    }
#define HC_ATOMICS(T)                                                \
    HC_ATOMIC(atomicAdd, T, (T)(unsigned long long)((unsigned long long)before + (unsigned long long)value)) \
    HC_ATOMIC(atomicMax, T, before > value ? before : value)         \
    HC_ATOMIC(atomicMin, T, before < value ? before : value)         \
    HC_ATOMIC(atomicExch, T, value)                                  \
    HC_ATOMIC(atomicOr, T, before | value)                           \
    HC_ATOMIC(atomicAnd, T, before & value)                          \
    HC_ATOMIC(atomicXor, T, before ^ value)
HC_ATOMICS(int)
HC_ATOMICS(unsigned)
HC_ATOMICS(unsigned long long)

template <class T>
__attribute__((noinline, no_sanitize_thread)) T atomicCAS(T* target, T expected, T value, HC_SITE) {
    hc::about_to_change_atomically(target, sizeof(T), HC_HERE);
    const T before = *target;
    if (before == expected) *target = value;
    return before;
}

// -- what device.cuh holds ---------------------------------------------------------------------

template <class T> const T* computed(const T* address) { return address; }

constexpr unsigned TF32_BITS = 0xffffe000u;  // what is left tells mma_tf32 that a number was not rounded

namespace hc {
inline unsigned to_bf16(float x) {
    if (x != x) return 0x7fffu;
    const unsigned bits = bits_of(x);
    return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}
inline double tf32(unsigned bits) { return float_of(bits & 0xffffe000u); }
inline double bf16(unsigned bits) { return float_of(bits << 16); }

struct Fragments {
    unsigned a[4], b[2];
};
}  // namespace hc

inline unsigned pack_bf16(float low, float high) {
    return hc::to_bf16(low) | hc::to_bf16(high) << 16;
}

__attribute__((noinline, no_sanitize_thread)) inline void load_matrices(unsigned (&words)[4],
                                                                        const void* shared, HC_SITE) {
    hc::must_be_line(shared, HC_HERE);
    const hc::Slot* slots = hc::exchange(hc::Stop::load_matrices, 0xffffffffu, &shared, sizeof shared, HC_HERE);
    const int lane = hc::current->number % 32;
    for (int block = 0; block < 4; ++block) {
        const unsigned* word = hc::value_of<const unsigned*>(slots[block * 8 + lane / 4]) + lane % 4;
        hc::about_to_read(word, 4, HC_HERE);
        words[block] = *word;
    }
}

__attribute__((noinline, no_sanitize_thread)) inline void load_matrices_turned(
    unsigned (&words)[4], const void* shared, HC_SITE) {
    hc::must_be_line(shared, HC_HERE);
    const hc::Slot* slots = hc::exchange(hc::Stop::load_matrices, 0xffffffffu, &shared, sizeof shared, HC_HERE);
    const int lane = hc::current->number % 32;
    for (int block = 0; block < 4; ++block) {
        words[block] = 0;
        for (int i = 0; i < 2; ++i) {
            const auto* number =
                hc::value_of<const unsigned short*>(slots[block * 8 + lane % 4 * 2 + i]) + lane / 4;
            hc::about_to_read(number, 2, HC_HERE);
            words[block] |= (unsigned)*number << 16 * i;
        }
    }
}

// Each lane computes its own four numbers of D, from operands found by the PTX manual's description.
// The sum is taken in double and rounded once: a device's own order is not known.
inline void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], HC_SITE) {
    hc::must_be_tf32(a, 4, HC_HERE);
    hc::must_be_tf32(b, 2, HC_HERE);
    const hc::Fragments mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    const hc::Slot* slots = hc::exchange(hc::Stop::mma_tf32, 0xffffffffu, &mine, sizeof mine, HC_HERE);
    const hc::Fragments* lanes[32];
    for (int lane = 0; lane < 32; ++lane) lanes[lane] = (const hc::Fragments*)slots[lane].bytes;
    const int lane = hc::current->number % 32;
    for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        double sum = d[i];
        for (int k = 0; k < 8; ++k)
            sum += hc::tf32(lanes[row % 8 * 4 + k % 4]->a[row / 8 + k / 4 * 2]) *
                   hc::tf32(lanes[column * 4 + k % 4]->b[k / 4]);
        d[i] = (float)sum;
    }
}

inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], HC_SITE) {
    const hc::Fragments mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    const hc::Slot* slots = hc::exchange(hc::Stop::mma_bf16, 0xffffffffu, &mine, sizeof mine, HC_HERE);
    const hc::Fragments* lanes[32];
    for (int lane = 0; lane < 32; ++lane) lanes[lane] = (const hc::Fragments*)slots[lane].bytes;
    const int lane = hc::current->number % 32;
    for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        double sum = d[i];
        for (int k = 0; k < 16; ++k)
            sum += hc::bf16(lanes[row % 8 * 4 + k % 8 / 2]->a[row / 8 + k / 8 * 2] >> k % 2 * 16 & 0xffffu) *
                   hc::bf16(lanes[column * 4 + k % 8 / 2]->b[k / 8] >> k % 2 * 16 & 0xffffu);
        d[i] = (float)sum;
    }
}

template <int BYTES>
inline void copy_async(void* shared, const void* global, bool valid, HC_SITE) {
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
    hc::issue_copy(shared, global, BYTES, valid, HC_HERE);
}
inline void copy_async_commit() { hc::commit_copies(); }
template <int PENDING>
inline void copy_async_wait() { hc::wait_for_copies(PENDING); }

// -- numbers -----------------------------------------------------------------------------------

#define HC_VECTOR(T, name, bytes)                               \
    struct alignas(bytes / 2) name##2 { T x, y; };              \
    struct alignas(bytes) name##4 { T x, y, z, w; };            \
    inline name##2 make_##name##2(T x, T y) { return {x, y}; }  \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
HC_VECTOR(float, float, 16)
HC_VECTOR(int, int, 16)
HC_VECTOR(unsigned, uint, 16)
HC_VECTOR(unsigned char, uchar, 4)
struct alignas(16) double2 { double x, y; };
inline double2 make_double2(double x, double y) { return {x, y}; }
using dim3 = hc::Index;

#define HC_MATH(name)                       \
    extern "C" double name(double) noexcept;         \
    extern "C" float name##f(float) noexcept;        \
    inline float name(float x) { return name##f(x); }
HC_MATH(exp) HC_MATH(exp2) HC_MATH(expm1) HC_MATH(log) HC_MATH(log2) HC_MATH(log1p) HC_MATH(sqrt)
HC_MATH(fabs) HC_MATH(floor) HC_MATH(ceil) HC_MATH(trunc) HC_MATH(rint) HC_MATH(tanh) HC_MATH(erf)
#define HC_MATH2(name)                                 \
    extern "C" double name(double, double) noexcept;            \
    extern "C" float name##f(float, float) noexcept;            \
    inline float name(float x, float y) { return name##f(x, y); }
HC_MATH2(pow) HC_MATH2(fmin) HC_MATH2(fmax)
extern "C" double fma(double, double, double) noexcept;
extern "C" float fmaf(float, float, float) noexcept;
inline float fma(float x, float y, float z) { return fmaf(x, y, z); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float abs(float x) { return fabsf(x); }
inline double abs(double x) { return fabs(x); }
extern "C" int abs(int) noexcept;
template <class T> bool isnan(T x) { return __builtin_isnan(x); }
template <class T> bool isinf(T x) { return __builtin_isinf(x); }
template <class T> bool isfinite(T x) { return __builtin_isfinite(x); }

// As CUDA has them: whole numbers by value, floating ones by fmin and fmax, which pass over NaN.
#define HC_LEAST(T)                                     \
    inline T min(T a, T b) { return b < a ? b : a; }    \
    inline T max(T a, T b) { return a < b ? b : a; }
HC_LEAST(int) HC_LEAST(unsigned) HC_LEAST(long) HC_LEAST(unsigned long) HC_LEAST(long long)
HC_LEAST(unsigned long long)
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

template <class T> T __ldg(const T* address) { return *address; }
inline float __uint_as_float(unsigned bits) { return hc::float_of(bits); }
inline float __int_as_float(int bits) { return hc::float_of((unsigned)bits); }
inline unsigned __float_as_uint(float value) { return hc::bits_of(value); }
inline int __float_as_int(float value) { return (int)hc::bits_of(value); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __brev(unsigned x) {
    unsigned turned = 0;
    for (int bit = 0; bit < 32; ++bit) turned |= (x >> bit & 1u) << (31 - bit);
    return turned;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
inline int __mulhi(int a, int b) { return (int)((long long)a * b >> 32); }

// -- the way in --------------------------------------------------------------------------------

namespace hc {

// A parameter's kind, as `HostLauncher` compares it with the argument: see there.
template <class T> struct Kind { static constexpr char code = '?'; };
template <> struct Kind<long long> { static constexpr char code = 'l'; };
template <> struct Kind<float> { static constexpr char code = 'f'; };
template <> struct Kind<double> { static constexpr char code = 'd'; };
template <class T> constexpr char code_of(decltype(T::bits)*) { return sizeof(T) == 2 ? 'H' : sizeof(T) == 4 ? 'T' : '*'; }
template <class T> constexpr char code_of(...) { return '*'; }
template <class T> struct Element { static constexpr char code = code_of<T>(nullptr); };  // H: Bfloat16, T: TensorFloat32
template <> struct Element<float> { static constexpr char code = 'f'; };
template <> struct Element<double> { static constexpr char code = 'd'; };
template <> struct Element<int> { static constexpr char code = 'i'; };
template <> struct Element<unsigned> { static constexpr char code = 'I'; };
template <> struct Element<long long> { static constexpr char code = 'q'; };
template <> struct Element<unsigned long long> { static constexpr char code = 'Q'; };
template <> struct Element<unsigned char> { static constexpr char code = 'B'; };
template <> struct Element<signed char> { static constexpr char code = 'b'; };
template <> struct Element<bool> { static constexpr char code = '?'; };

struct Parameter {
    char kind;       // p: pointer, s: struct, l f d: number, ?: what the launch code never passes
    char element;    // of a pointer
    char is_const;   // what a pointer points to
    int bytes;
};

template <class T> struct Describe {
    static constexpr Parameter value = {__is_class(T) ? 's' : Kind<T>::code, ' ', 1, (int)sizeof(T)};
};
template <class T> struct Describe<T*> {
    static constexpr Parameter value = {'p', Element<T>::code, 0, 8};
};
template <class T> struct Describe<const T*> {
    static constexpr Parameter value = {'p', Element<T>::code, 1, 8};
};
template <class T> struct Plain { using Type = T; };
template <class T> struct Plain<const T> { using Type = T; };
template <class T> struct Plain<T* __restrict__> { using Type = T*; };

struct Launch;

template <int... I> struct Numbers {};

template <auto KERNEL> struct Entry;
template <class... P, void (*KERNEL)(P...)> struct Entry<KERNEL> {
    static constexpr int count = sizeof...(P);
    static constexpr Parameter parameters[] = {Describe<typename Plain<P>::Type>::value..., {}};

    template <int... I> static void call(void** arguments, Numbers<I...>) {
        KERNEL(*(P*)arguments[I]...);
    }
    static void run(void** arguments) { call(arguments, Numbers<__integer_pack(count)...>()); }
};

}  // namespace hc

extern "C" void hc_run(hc::Launch* launch, const hc::Parameter* parameters, void (*body)(void**));
