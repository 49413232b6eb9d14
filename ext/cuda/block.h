// How the kernels see the machine. Their bodies are written against a Block: code between two calls of `each` is the
// same for all threads of a block, `each` runs its argument once per thread and lets all finish. So the same bodies run
// on a GPU, where a Block is a block of threads, and in tests on the host, where it is a loop (tests/ops/emulation.h).
#ifndef PANODEEPLAB_CUDA_BLOCK_H
#define PANODEEPLAB_CUDA_BLOCK_H

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define PDL_DEVICE __device__ __forceinline__
#define PDL_PRAGMA(text) _Pragma(#text)
#define PDL_UNROLL(times) PDL_PRAGMA(unroll times)
#else
#define PDL_DEVICE inline
#define PDL_UNROLL(times)
#endif

namespace pdl::gpu {

// Atomics of one block or of the device, without any order. Whole numbers only, so that no order shows.
#ifdef __CUDACC__

PDL_DEVICE int32_t fetch_add(int32_t *address, int32_t value) { return atomicAdd(address, value); }
PDL_DEVICE void add(uint64_t *address, uint64_t value) {
    static_assert(sizeof(unsigned long long) == sizeof(uint64_t));
    atomicAdd(reinterpret_cast<unsigned long long *>(address), static_cast<unsigned long long>(value));
}
PDL_DEVICE void lower_to(int32_t *address, int32_t value) { atomicMin(address, value); }
PDL_DEVICE void raise_to(int32_t *address, int32_t value) { atomicMax(address, value); }
PDL_DEVICE void raise_to(uint64_t *address, uint64_t value) {
    atomicMax(reinterpret_cast<unsigned long long *>(address), static_cast<unsigned long long>(value));
}
PDL_DEVICE int32_t swap_if(int32_t *address, int32_t expected, int32_t value) {
    return atomicCAS(address, expected, value);
}
// A value that other threads may be changing.
PDL_DEVICE int32_t peek(const int32_t *address) { return *static_cast<const volatile int32_t *>(address); }
PDL_DEVICE void poke(int32_t *address, int32_t value) { *static_cast<volatile int32_t *>(address) = value; }

#else

inline int32_t fetch_add(int32_t *address, int32_t value) {
    return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}
inline void add(uint64_t *address, uint64_t value) { __atomic_fetch_add(address, value, __ATOMIC_RELAXED); }
inline int32_t peek(const int32_t *address) { return __atomic_load_n(address, __ATOMIC_RELAXED); }
inline void poke(int32_t *address, int32_t value) { __atomic_store_n(address, value, __ATOMIC_RELAXED); }
inline int32_t swap_if(int32_t *address, int32_t expected, int32_t value) {
    __atomic_compare_exchange_n(address, &expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return expected;
}
inline void lower_to(int32_t *address, int32_t value) {
    for (int32_t found = peek(address); found > value;) {
        const int32_t before = swap_if(address, found, value);
        if (before == found) return;
        found = before;
    }
}
inline void raise_to(int32_t *address, int32_t value) {
    for (int32_t found = peek(address); found < value;) {
        const int32_t before = swap_if(address, found, value);
        if (before == found) return;
        found = before;
    }
}
inline void raise_to(uint64_t *address, uint64_t value) {
    uint64_t found = __atomic_load_n(address, __ATOMIC_RELAXED);
    while (found < value &&
           !__atomic_compare_exchange_n(address, &found, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

#endif

PDL_DEVICE int32_t count_bits(uint32_t word) {
#ifdef __CUDA_ARCH__
    return __popc(word);
#else
    return __builtin_popcount(word);
#endif
}

PDL_DEVICE int32_t bits_of(float value) {
    int32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

PDL_DEVICE float float_of(int32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

#ifdef __CUDACC__

template <int32_t kThreads> class DeviceBlock {
public:
    // A variable of each thread that lives from one `each` to the next.
    template <class T> class PerThread {
    public:
        PDL_DEVICE T &operator[](int32_t) { return value_; }

    private:
        T value_;
    };

    PDL_DEVICE int32_t index() const { return static_cast<int32_t>(blockIdx.x); }
    PDL_DEVICE int32_t image() const { return static_cast<int32_t>(blockIdx.y); }

    // A barrier on either side: what is read between two calls cannot be changed yet by a thread that is ahead.
    template <class Body> PDL_DEVICE void each(const Body &body) const {
        __syncthreads();
        body(static_cast<int32_t>(threadIdx.x));
        __syncthreads();
    }
};

#endif

}  // namespace pdl::gpu

#endif
