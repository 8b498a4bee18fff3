// What the code of fused loops is made of (arraycnn.program.render.cuda): operations on numbers as
// NumPy has them, and reductions in a fixed order.
#pragma once
#include "device.cuh"

// -- numbers -----------------------------------------------------------------------------------

// Whole numbers are added and multiplied without a sign: there it is defined that they wrap around.
template <typename T> struct Unsigned { using Type = T; };
template <> struct Unsigned<signed char> { using Type = unsigned; };
template <> struct Unsigned<unsigned char> { using Type = unsigned; };
template <> struct Unsigned<int> { using Type = unsigned; };
template <> struct Unsigned<long long> { using Type = unsigned long long; };

template <typename T> DEVICE T plus(T a, T b) {
    using U = typename Unsigned<T>::Type;
    return (T)((U)a + (U)b);
}
template <typename T> DEVICE T minus(T a, T b) {
    using U = typename Unsigned<T>::Type;
    return (T)((U)a - (U)b);
}
template <typename T> DEVICE T times(T a, T b) {
    using U = typename Unsigned<T>::Type;
    return (T)((U)a * (U)b);
}

// NaN where either is.
template <typename T> DEVICE T larger(T a, T b) { return a > b || a != a ? a : b; }
template <typename T> DEVICE T smaller(T a, T b) { return a < b || a != a ? a : b; }

template <typename T> DEVICE T sign_of(T x) {
    return x != x ? x : x > T(0) ? T(1) : x < T(0) ? T(-1) : T(0);
}
template <typename T> DEVICE T size_of(T x) { return x < T(0) ? minus(T(0), x) : x; }

// Shifts by as many bits as there are, or more, leave 0, or the sign.
template <typename T> DEVICE T shifted_left(T x, T bits) {
    using U = typename Unsigned<T>::Type;
    return bits < T(0) || bits >= T(8 * sizeof(T)) ? T(0) : (T)((U)x << bits);
}
template <typename T> DEVICE T shifted_right(T x, T bits) {
    return bits < T(0) || bits >= T(8 * sizeof(T)) ? (x < T(0) ? T(-1) : T(0)) : (T)(x >> bits);
}

// Rounded down; 0 where b is 0.
template <typename T> DEVICE T floor_divided(T a, T b) {
    if (b == T(0)) return T(0);
    if (b == (T)-1 && T(-1) < T(0)) return minus(T(0), a);  // nor does the least number have a negative
    const T quotient = a / b, rest = minus(a, times(quotient, b));
    return rest != T(0) && ((rest < T(0)) != (b < T(0))) ? minus(quotient, T(1)) : quotient;
}
template <typename T> DEVICE T remainder_of(T a, T b) {
    return b == T(0) ? T(0) : minus(a, times(floor_divided(a, b), b));
}

// A floating number as a whole one: cut off, the nearest there is where it is too large, 0 for NaN.
template <typename T> DEVICE T cut_to(double x, T least, T most) {
    if (x != x) return T(0);
    return x <= (double)least ? least : x >= (double)most ? most : (T)x;
}

// x to a whole power that is known.
template <int POWER, typename T> DEVICE T to_power(T x) {
    T result = T(1), factor = x;
#pragma unroll
    for (int left = POWER; left; left /= 2) {
        if (left % 2) result = result * factor;
        factor = factor * factor;
    }
    return result;
}

// x / divisor, where `inverse` is 1 / divisor, both to the nearest: so is the quotient then, but for
// numbers below the normal ones (Markstein, "Computation of elementary functions on the IBM RISC
// System/6000 processor", 1990). The divisor is 1 at least. Without branches, as a division has them.
template <typename T> DEVICE T divided(T x, T divisor, T inverse) {
    const T quotient = x * inverse, rest = fma(-quotient, divisor, x);
    // An exact one keeps its sign at 0, and of an infinity there is no rest.
    return rest < T(0) || rest > T(0) ? fma(rest, inverse, quotient) : quotient;
}

// A row that is taken: one below 0 counts from the end; none reaches beyond the array.
DEVICE long long taken(long long index, long long size) {
    const long long place = index < 0 ? index + size : index;
    return place < 0 ? 0 : place >= size ? size - 1 : place;
}

constexpr int most(int size) { return size; }
template <typename... T> constexpr int most(int size, T... others) {
    return size > most((int)others...) ? size : most((int)others...);
}

// As many numbers as one thread moves at once.
template <typename T, int LANES>
struct alignas(sizeof(T) * LANES) Packed {
    T at[LANES];
};

// -- reductions --------------------------------------------------------------------------------

template <typename T> struct Sum {
    using State = T;
    static DEVICE T start() { return T(0); }
    static DEVICE void add(T& sum, T x, long long) { sum = plus(sum, x); }
    static DEVICE T merged(T a, T b) { return plus(a, b); }
    static DEVICE T result(T sum) { return sum; }
};

template <typename T> struct Prod {
    using State = T;
    static DEVICE T start() { return T(1); }
    static DEVICE void add(T& product, T x, long long) { product = times(product, x); }
    static DEVICE T merged(T a, T b) { return times(a, b); }
    static DEVICE T result(T product) { return product; }
};

struct Any {
    using State = bool;
    static DEVICE bool start() { return false; }
    static DEVICE void add(bool& any, bool x, long long) { any = any || x; }
    static DEVICE bool merged(bool a, bool b) { return a || b; }
    static DEVICE bool result(bool any) { return any; }
};

struct All {
    using State = bool;
    static DEVICE bool start() { return true; }
    static DEVICE void add(bool& all, bool x, long long) { all = all && x; }
    static DEVICE bool merged(bool a, bool b) { return a && b; }
    static DEVICE bool result(bool all) { return all; }
};

// The largest number (SIGN 1) or the smallest (-1), and the first place it is found at; NaN before all
// others. Nothing was found yet at place -1.
template <typename T> struct Placed {
    T value;
    long long place;
};

template <typename T, int SIGN> struct Extreme {
    using State = Placed<T>;
    static DEVICE State start() { return {T(0), -1}; }
    static DEVICE void add(State& best, T x, long long place) { best = merged(best, {x, place}); }
    static DEVICE State merged(State a, State b) {
        if (b.place < 0) return a;
        if (a.place < 0) return b;
        const bool nan_a = a.value != a.value, nan_b = b.value != b.value;
        const bool better = SIGN > 0 ? b.value > a.value : b.value < a.value;
        const bool equal = b.value == a.value || (nan_a && nan_b);
        if (equal) return a.place < b.place ? a : b;
        return !nan_a && (nan_b || better) ? b : a;
    }
};
template <typename T> struct Max : Extreme<T, 1> {
    static DEVICE T result(Placed<T> best) { return best.value; }
};
template <typename T> struct Min : Extreme<T, -1> {
    static DEVICE T result(Placed<T> best) { return best.value; }
};
template <typename T> struct ArgMax : Extreme<T, 1> {
    static DEVICE long long result(Placed<T> best) { return best.place; }
};
template <typename T> struct ArgMin : Extreme<T, -1> {
    static DEVICE long long result(Placed<T> best) { return best.place; }
};

// a / b for a b that is a count: without the cases of very large and small ones, which are calls.
#ifdef __CUDACC__
DEVICE float quotient(float a, float b) { return __fdividef(a, b); }
#else
DEVICE float quotient(float a, float b) { return a / b; }
#endif
DEVICE double quotient(double a, double b) { return a / b; }

// Count, mean and sum of squares around it in one pass: Chan, Golub and LeVeque, "Updating formulae
// and a pairwise algorithm for computing sample variances", 1979.
template <typename T> struct Moments {
    struct State {
        T count, mean, squares;
    };
    static DEVICE State start() { return {T(0), T(0), T(0)}; }
    static DEVICE void add(State& so_far, T x, long long) {
        so_far.count += T(1);
        const T away = x - so_far.mean;
        so_far.mean += quotient(away, so_far.count);
        so_far.squares += away * (x - so_far.mean);
    }
    static DEVICE State merged(State a, State b) {
        if (!(b.count > T(0))) return a;
        if (!(a.count > T(0))) return b;
        const T count = a.count + b.count, away = b.mean - a.mean, share = quotient(b.count, count);
        return {count, a.mean + away * share, a.squares + b.squares + away * away * a.count * share};
    }
};

// The states of COUNT neighbouring lanes, a power of two, as one, in all of them: for operations that do
// not mind which of two comes first. All lanes of the warp are here.
template <typename Op, int COUNT>
DEVICE typename Op::State over_lanes(typename Op::State mine) {
    union Words {
        typename Op::State state;
        unsigned words[(sizeof(typename Op::State) + 3) / 4];
    };
#pragma unroll
    for (int distance = COUNT / 2; distance > 0; distance /= 2) {
        Words own = {}, other;
        own.state = mine;
#pragma unroll
        for (unsigned i = 0; i < sizeof(Words) / 4; ++i)
            other.words[i] = __shfl_xor_sync(0xffffffffu, own.words[i], distance);
        mine = Op::merged(mine, other.state);
    }
    return mine;
}

// The states of COUNT threads, STRIDE apart, as one, for each of LANES: in the first of the threads,
// whose rank is 0. COUNT is a power of two; `shared` has room for LANES x THREADS.
template <typename Op, int THREADS, int COUNT, int STRIDE, int LANES>
DEVICE void reduce_over_threads(typename Op::State (&mine)[LANES], typename Op::State* shared,
                                int thread, int rank) {
    if (COUNT == 1) return;
#pragma unroll
    for (int lane = 0; lane < LANES; ++lane) shared[lane * THREADS + thread] = mine[lane];
#pragma unroll
    for (int half = COUNT / 2; half > 0; half /= 2) {
        __syncthreads();
        if (rank < half) {
#pragma unroll
            for (int lane = 0; lane < LANES; ++lane) {
                const int place = lane * THREADS + thread;
                mine[lane] = Op::merged(mine[lane], shared[place + half * STRIDE]);
                shared[place] = mine[lane];
            }
        }
    }
    __syncthreads();  // `shared` may be written again
}

// What `splits` blocks have left, parts[split][kept], as totals; by all threads of the last block.
// ACROSS is a power of two: so many of the kept numbers are worked on at once.
template <typename Op, int THREADS, int ACROSS, typename Keep>
DEVICE void combine(const typename Op::State* parts, long long kept, long long splits,
                    typename Op::State* shared, Keep keep) {
    constexpr int RANKS = THREADS / ACROSS;
    const int thread = (int)threadIdx.x, rank = thread / ACROSS;
    for (long long first = 0; first < kept; first += ACROSS) {
        const long long mine = first + thread % ACROSS;
        typename Op::State state[1] = {Op::start()};
        if (mine < kept) {
            constexpr int AT_ONCE = 8;  // loads that are under way together
            for (long long split = rank; split < splits; split += AT_ONCE * RANKS) {
                typename Op::State some[AT_ONCE];
#pragma unroll
                for (int i = 0; i < AT_ONCE; ++i) {
                    const long long next = split + i * RANKS;
                    some[i] = next < splits ? parts[next * kept + mine] : Op::start();
                }
#pragma unroll
                for (int i = 0; i < AT_ONCE; ++i) state[0] = Op::merged(state[0], some[i]);
            }
        }
        reduce_over_threads<Op, THREADS, RANKS, ACROSS, 1>(state, shared, thread, rank);
        if (rank == 0 && mine < kept) keep(mine, state[0]);
    }
}
