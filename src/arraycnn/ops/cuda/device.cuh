// What the kernels use beyond plain CUDA C++: the only place with PTX.
//
// tests/host_cuda has a stand-in in plain C++ for each function, so that the same .cu files run on a
// machine without a GPU. Fragments are as in the PTX manual, "Matrix fragments for mma.m16n8k8" and
// "... m16n8k16": with group = lane / 4 and place = lane % 4 in a warp,
//   a[0], a[1]: rows group, group + 8 of A;  a[2], a[3]: the same rows, later columns;
//   b: column group of B;  d[0], d[1]: row group, columns 2 place, 2 place + 1;  d[2], d[3]: row group + 8.
#pragma once

#ifdef __CUDACC__

#define DEVICE __device__ __forceinline__

// Dynamic shared memory: one buffer, seen as an array of T.
extern __shared__ __align__(16) unsigned char dynamic_shared_bytes[];
#define DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(dynamic_shared_bytes)

// An address in global memory of which the compiler must not know how it came about: else it keeps the
// parts of the sum, and adds them again at each use.
template <typename T>
DEVICE const T* computed(const T* address) {
    asm("" : "+l"(address));
    __builtin_assume(__isGlobal(address));
    return address;
}

constexpr unsigned TF32_BITS = 0xffffffffu;  // mma_tf32 itself ignores the last 13

// Two numbers rounded to bfloat16 (to nearest, ties to even): `low` in bits 0-15.
DEVICE unsigned pack_bf16(float low, float high) {
    unsigned bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}

// Four blocks of 8 lines of 16 bytes in shared memory: lane l tells where line l % 8 of block l / 8
// begins, and gets word l % 4 of line l / 4 of each.
DEVICE void load_matrices(unsigned (&words)[4], const void* line) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(static_cast<unsigned>(__cvta_generic_to_shared(line)))
                 : "memory");
}

// The same of 8 lines of 8 numbers of 2 bytes, each block turned: a lane gets numbers l / 4 of lines
// 2 (l % 4) and 2 (l % 4) + 1.
DEVICE void load_matrices_turned(unsigned (&words)[4], const void* line) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(static_cast<unsigned>(__cvta_generic_to_shared(line)))
                 : "memory");
}

// d += a b with A of 16 x 8 and B of 8 x 8 TF32 numbers.
// a: (group, place), (group + 8, place), (group, place + 4), (group + 8, place + 4);
// b: (place, group), (place + 4, group).
DEVICE void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// d += a b with A of 16 x 16 and B of 16 x 8 bfloat16 numbers, two neighbours along k a word.
// a: (group, 2 place), (group + 8, 2 place), (group, 2 place + 8), (group + 8, 2 place + 8);
// b: (2 place, group), (2 place + 8, group).
DEVICE void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#if __CUDA_ARCH__ >= 800

// Copy BYTES (4, 8 or 16; both sides aligned to them) from global to shared memory without
// registers; zeros where not `valid`, and then `global` is not read. Visible after
// `copy_async_wait` and a barrier.
template <int BYTES>
DEVICE void copy_async(void* shared, const void* global, bool valid) {
    unsigned target = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    int size = valid ? BYTES : 0;
    if (BYTES == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                     :: "r"(target), "l"(global), "r"(size) : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
                     :: "r"(target), "l"(global), "n"(BYTES), "r"(size) : "memory");
}

// Close a group of copies.
DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Wait until at most PENDING of this thread's latest groups are under way.
template <int PENDING>
DEVICE void copy_async_wait() { asm volatile("cp.async.wait_group %0;" :: "n"(PENDING) : "memory"); }

#else  // older devices copy through registers, at once

template <int BYTES>
struct alignas(BYTES) Copied {
    unsigned words[BYTES / 4];
};

template <int BYTES>
DEVICE void copy_async(void* shared, const void* global, bool valid) {
    Copied<BYTES> copied = {};
    if (valid) copied = *static_cast<const Copied<BYTES>*>(global);
    *static_cast<Copied<BYTES>*>(shared) = copied;
}

DEVICE void copy_async_commit() {}

template <int PENDING>
DEVICE void copy_async_wait() {}

#endif
#endif

// A number in memory that is the upper half of a float. Nothing is computed with it: it becomes a float
// when it is read, and is rounded when it is written, to nearest, ties to even; NaN stays NaN.
struct Bfloat16 {
    unsigned short bits;

    Bfloat16() = default;
    DEVICE explicit Bfloat16(float x) : bits((unsigned short)pack_bf16(x, 0)) {}
    DEVICE operator float() const { return __uint_as_float((unsigned)bits << 16); }
};

// Round to nearest, ties away from zero, to the 10 explicit bits of TF32: half of the last one's unit is
// added, and what is then left of it cut off. Unlike a sum of integers, which is what cvt.rna becomes
// beside a comparison, this keeps NaN, and puts the result in any register. Below 2^-115 it cuts off.
DEVICE unsigned to_tf32(float x) {
    const float power = __uint_as_float(__float_as_uint(x) & 0xff800000u);  // of two, with x's sign
    return __float_as_uint(fmaf(power, 1.0f / 2048, x)) & TF32_BITS;
}

// A number in memory that is a float as `to_tf32` rounds it, the bits behind those 0: what multiplies it on
// the matrix units, and what computes with it as a float, need round nothing. NaN stays NaN.
struct TensorFloat32 {
    unsigned bits;

    TensorFloat32() = default;
    DEVICE explicit TensorFloat32(float x) : bits(to_tf32(x) & 0xffffe000u) {}
    DEVICE operator float() const { return __uint_as_float(bits); }
};

// A block of a kernel: of the whole grid, or of the share that the kernel has where several are one
// launch.
struct Block {
    unsigned x, y, z;
    unsigned tall, wide;  // how many there are along y, and along x
};

DEVICE Block block_of_grid() {
    return {blockIdx.x, blockIdx.y, blockIdx.z, gridDim.y, gridDim.x};
}

// Of a share of `wide` x `tall` blocks and any number along z, x fastest.
DEVICE Block block_of_share(unsigned number, unsigned wide, unsigned tall) {
    return {number % wide, number / wide % tall, number / wide / tall, tall, wide};
}

// Whether this block is the last of `blocks` to come here: it may read what all of them have written
// before, through pointers that are not __restrict__. All threads of a block call it together, once a
// launch. The counter is 0 before the launch, and again after it.
DEVICE bool is_last_block(int* counter, int blocks) {
    bool is_last = false;  // told by the barrier: beside dynamic shared memory a variable there is dear
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0 && threadIdx.z == 0) {
        is_last = atomicAdd(counter, 1) == blocks - 1;
        __threadfence();
        if (is_last) *counter = 0;
    }
    return __syncthreads_or(is_last) != 0;
}

// The same for all blocks of the grid.
DEVICE bool is_last_block(int* counter) {
    return is_last_block(counter, (int)(gridDim.x * gridDim.y * gridDim.z));
}
