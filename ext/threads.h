// Loops over several threads, made for calls of a millisecond between networks that have threads of their own.
//
// OpenMP's threads keep their cores for up to 16 ms after a loop, waiting for the next one: a small network on OpenVINO
// took a fifth longer. And each loop ends when the last thread has come, even if no work is left for it: calls of two
// milliseconds took up to 13. Here threads go to sleep soon, and one that gets no core in time is not waited for.
#ifndef PANODEEPLAB_THREADS_H
#define PANODEEPLAB_THREADS_H

#include <algorithm>
#include <cstdint>

namespace pdl {

// How many threads a loop of so many pieces of work gets.
inline int useful_threads(int wanted, int64_t pieces) {
    return static_cast<int>(std::clamp<int64_t>(pieces, 1, std::max(wanted, 1)));
}

// As many as the process has cores.
int available_threads();

// What parallel_for stands on.
using LoopBody = void (*)(const void *closure, int64_t begin, int64_t end, int thread);
void run_loop(int threads, int64_t count, int64_t grain, LoopBody body, const void *closure);

// Calls `body(i, thread)` once for each `i` below `count`, in any order, `grain` of them at a time, on this thread and on
// up to `threads` - 1 others, and returns when all are done. No two at once have the same `thread`, which is below
// `threads`. What a call throws is thrown here, of several one, after the others have ended; what was not begun by then
// is left out.
template <typename Body>
void parallel_for(int threads, int64_t count, int64_t grain, const Body &body) {
    const auto range = [](const void *closure, int64_t begin, int64_t end, int thread) {
        const Body &inner = *static_cast<const Body *>(closure);
        for (int64_t i = begin; i < end; i++) inner(i, thread);
    };
    if (threads == 1)
        range(&body, 0, count, 0);
    else
        run_loop(threads, count, grain, range, &body);
}

}  // namespace pdl

#endif
