// The kernels of ext/cuda on the host: the same bodies, blocks and threads as loops, or threads as real threads.
// Memory that a kernel may not rely on holds garbage before it runs.
#ifndef PANODEEPLAB_TESTS_EMULATION_H
#define PANODEEPLAB_TESTS_EMULATION_H

#include <pthread.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "cuda/launches.h"

namespace pdl::gpu {

constexpr unsigned char kGarbage = 0xA5;

// In which order the threads of a block and the blocks of a grid run. No result may depend on it.
enum class Order : int32_t { kForward, kBackward, kShuffled };

class Sequence {
public:
    Sequence(Order order, uint32_t seed) : order_(order), state_(seed) {}

    // Calls use(0) ... use(count - 1).
    template <class Use> void run(int64_t count, const Use &use) {
        if (order_ != Order::kShuffled) {
            for (int64_t i = 0; i < count; i++) use(order_ == Order::kForward ? i : count - 1 - i);
            return;
        }
        std::vector<int64_t> numbers;
        for (int64_t i = 0; i < count; i++) {
            const auto place = static_cast<size_t>(next() % static_cast<uint64_t>(i + 1));
            numbers.push_back(i);
            std::swap(numbers[place], numbers.back());
        }
        for (const int64_t i : numbers) use(i);
    }

private:
    uint64_t next() {
        state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        return state_ >> 33;
    }

    Order order_;
    uint64_t state_;
};

// All threads of a block, one after another between barriers.
template <int32_t kThreads> class LoopBlock {
public:
    template <class T> class PerThread {
    public:
        PerThread() { memset(static_cast<void *>(values_), kGarbage, sizeof(values_)); }
        T &operator[](int32_t t) { return values_[t]; }

    private:
        T values_[kThreads];
    };

    LoopBlock(int32_t index, int32_t image, Sequence &sequence) : index_(index), image_(image), sequence_(sequence) {}

    int32_t index() const { return index_; }
    int32_t image() const { return image_; }

    template <class Body> void each(const Body &body) {
        sequence_.run(kThreads, [&](int64_t t) { body(static_cast<int32_t>(t)); });
    }

private:
    int32_t index_, image_;
    Sequence &sequence_;
};

class LoopLaunch {
public:
    LoopLaunch(Order order, uint32_t seed) : sequence_(order, seed) {}

    template <class Kernel> void start(const Plan &plan, int64_t images) {
        const int64_t blocks = Kernel::blocks(plan);
        const auto shared = std::make_unique<typename Kernel::Shared>();
        sequence_.run(blocks * images, [&](int64_t i) {
            memset(static_cast<void *>(shared.get()), kGarbage, sizeof(*shared));
            LoopBlock<Kernel::kThreads> block(static_cast<int32_t>(i % blocks), static_cast<int32_t>(i / blocks),
                                              sequence_);
            Kernel::run(block, *shared, plan);
        });
    }

private:
    Sequence sequence_;
};

// One real thread of a block, so that the thread sanitizer sees what is not ordered by a barrier.
class ThreadBlock {
public:
    template <class T> class PerThread {
    public:
        T &operator[](int32_t) { return value_; }

    private:
        T value_;
    };

    ThreadBlock(int32_t index, int32_t image, int32_t thread, pthread_barrier_t &barrier)
        : index_(index), image_(image), thread_(thread), barrier_(barrier) {}

    int32_t index() const { return index_; }
    int32_t image() const { return image_; }

    template <class Body> void each(const Body &body) {
        pthread_barrier_wait(&barrier_);
        body(thread_);
        pthread_barrier_wait(&barrier_);
    }

private:
    int32_t index_, image_, thread_;
    pthread_barrier_t &barrier_;
};

class ThreadLaunch {
public:
    template <class Kernel> void start(const Plan &plan, int64_t images) {
        const int64_t blocks = Kernel::blocks(plan);
        // A block has its own shared memory, and no barrier with others: two at a time.
        constexpr int64_t kBlocks = 2;
        typename Kernel::Shared shared[kBlocks];
        pthread_barrier_t barriers[kBlocks];
        for (pthread_barrier_t &barrier : barriers) pthread_barrier_init(&barrier, nullptr, Kernel::kThreads);
        std::vector<std::thread> threads;
        for (int64_t b = 0; b < kBlocks; b++)
            for (int32_t t = 0; t < Kernel::kThreads; t++)
                threads.emplace_back([&, b, t] {
                    for (int64_t i = b; i < blocks * images; i += kBlocks) {
                        ThreadBlock block(static_cast<int32_t>(i % blocks), static_cast<int32_t>(i / blocks), t,
                                          barriers[b]);
                        Kernel::run(block, shared[b], plan);
                        pthread_barrier_wait(&barriers[b]);
                    }
                });
        for (std::thread &thread : threads) thread.join();
        for (pthread_barrier_t &barrier : barriers) pthread_barrier_destroy(&barrier);
    }
};

}  // namespace pdl::gpu

#endif
