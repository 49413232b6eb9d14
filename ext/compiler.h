// What differs between compilers: several versions of a function chosen at run time, inlining, bits.
#ifndef PANODEEPLAB_COMPILER_H
#define PANODEEPLAB_COMPILER_H

#ifdef _MSC_VER
#include <intrin.h>
#endif

// More versions for AVX-512 (gcc from 12 on) and AVX2, one chosen when the module is loaded; same bits, because
// contraction is off. .ci/emulate_avx512 runs those for AVX-512; clang has none, as its use of masks needs a shift that
// Bochs 2.7 gets wrong, and clang 14 would take `arch=x86-64-v4` for any CPU.
// The sanitizers instrument the resolver before they are ready, so they get the plain version; -DPDL_CLONES= builds
// that alone, too. Only for functions that no other file calls: older clang gives the chosen version a name that they
// would not find.
#ifndef PDL_CLONES
#if !defined(__x86_64__) || !defined(__GLIBC__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PDL_CLONES
#elif !defined(__clang__) && __GNUC__ >= 12
#define PDL_CLONES __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#elif !defined(__clang__) || __clang_major__ >= 14
#define PDL_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define PDL_CLONES
#endif
#endif

#if defined(__GNUC__)
#define PDL_FORCE_INLINE inline __attribute__((always_inline))
// After the parameters of a lambda: called out of line, it would be of the plain version of the function around it.
#define PDL_INLINE_LAMBDA __attribute__((always_inline))
#else
#define PDL_FORCE_INLINE inline
#define PDL_INLINE_LAMBDA
#endif

// The next loop may load ahead of its own stores.
#if defined(__clang__)
// It is a wish: where clang cannot, the loop stays as it is.
#pragma clang diagnostic ignored "-Wpass-failed"
#define PDL_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define PDL_INDEPENDENT _Pragma("GCC ivdep")
#else
#define PDL_INDEPENDENT
#endif

// The next loop, of few steps, becomes vectors as it stands; unrolled first, it would stay as many steps.
#if defined(__GNUC__) && !defined(__clang__)
#define PDL_LANES _Pragma("GCC unroll 1") _Pragma("GCC ivdep")
#else
#define PDL_LANES PDL_INDEPENDENT
#endif

namespace pdl {

// The memory around an address will be read soon.
PDL_FORCE_INLINE void fetch_ahead(const void *address) {
#if defined(__GNUC__)
    __builtin_prefetch(address);
#else
    (void)address;
#endif
}

// For a loop that waits.
PDL_FORCE_INLINE void pause_briefly() {
#if defined(__GNUC__) && defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__GNUC__) && defined(__aarch64__)
    asm volatile("isb");
#elif defined(_M_X64)
    _mm_pause();
#endif
}

// Of a set of bits, which is not empty where a place is asked for.
#ifdef _MSC_VER
inline int count_bits(unsigned int bits) { return static_cast<int>(__popcnt(bits)); }
inline int lowest_bit(unsigned int bits) {
    unsigned long place;
    _BitScanForward(&place, bits);
    return static_cast<int>(place);
}
inline int highest_bit(unsigned int bits) {
    unsigned long place;
    _BitScanReverse(&place, bits);
    return static_cast<int>(place);
}
#else
PDL_FORCE_INLINE int count_bits(unsigned int bits) { return __builtin_popcount(bits); }
PDL_FORCE_INLINE int lowest_bit(unsigned int bits) { return __builtin_ctz(bits); }
PDL_FORCE_INLINE int highest_bit(unsigned int bits) { return 31 - __builtin_clz(bits); }
#endif

}  // namespace pdl

#endif
