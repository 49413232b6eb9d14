#include "threads.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#ifndef _WIN32
#include <pthread.h>
#endif

#include "compiler.h"

namespace pdl {
namespace {

// How long a thread looks for work, or waits for others, before it sleeps: about what lies between two loops of a call.
// Longer, and it would keep the network's threads from the core; yielding it meanwhile, it would not get it back in time
// from threads that wait in the same way without yielding, as OpenMP's and ONNX Runtime's do.
constexpr auto kPatience = std::chrono::microseconds(100);

// Whether it came true while a thread had patience.
template <typename Condition>
bool comes_true(const Condition &condition) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        for (int i = 0; i < 16; i++) pause_briefly();
    }
    return true;
}

struct Loop {
    const int64_t count, grain;
    const LoopBody body;
    const void *const closure;
    std::atomic<int64_t> next{0};   // of the work: what nobody has begun
    std::atomic<int> helpers{0};    // that are at work
    // Under the pool's lock.
    int free_places;                // for helpers to come
    int next_place = 1;             // the caller has the first
    std::exception_ptr failure;
    std::condition_variable finished;

    Loop(int threads, int64_t count_, int64_t grain_, LoopBody body_, const void *closure_)
        : count(count_), grain(grain_), body(body_), closure(closure_), free_places(threads - 1) {}

    bool wants_help() const { return free_places > 0 && next.load(std::memory_order_relaxed) < count; }

    void work(int place) {
        for (;;) {
            const int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
            if (begin >= count) return;
            body(closure, begin, std::min(begin + grain, count), place);
        }
    }
};

// The helping threads of the process, started as they are needed. They sleep between calls and never end.
class Pool {
public:
    void run(Loop &loop) {
        announce(loop);
        work(loop, 0);
        std::unique_lock<std::mutex> lock(mutex_);
        loops_.erase(std::find(loops_.begin(), loops_.end(), &loop));
        // Nobody can join now.
        const auto alone = [&] { return loop.helpers.load(std::memory_order_acquire) == 0; };
        if (!alone()) {
            lock.unlock();
            comes_true(alone);
            lock.lock();  // even if alone: the last helper holds it while it still looks at the loop
            loop.finished.wait(lock, alone);
        }
        if (loop.failure) std::rethrow_exception(loop.failure);
    }

private:
    void announce(Loop &loop) {
        int to_wake;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            loops_.push_back(&loop);
            start_threads(loop.free_places);
            to_wake = std::min(sleepers_, loop.free_places);
            announced_.fetch_add(1, std::memory_order_release);
        }
        for (; to_wake > 0; to_wake--) work_.notify_one();
    }

    void start_threads(int wanted) {
        try {
            for (; threads_ < wanted; threads_++) std::thread([this] { help(); }).detach();
        } catch (const std::exception &) {
            // The caller does the work with those that there are.
        }
    }

    void work(Loop &loop, int place) {
        try {
            loop.work(place);
        } catch (...) {
            loop.next.store(loop.count, std::memory_order_relaxed);
            const std::lock_guard<std::mutex> lock(mutex_);
            loop.failure = std::current_exception();
        }
    }

    Loop *find() const {
        for (Loop *loop : loops_)
            if (loop->wants_help()) return loop;
        return nullptr;
    }

    [[noreturn]] void help() {
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            Loop *loop = find();
            if (loop == nullptr) {
                const unsigned seen = announced_.load(std::memory_order_relaxed);
                lock.unlock();
                comes_true([&] { return announced_.load(std::memory_order_acquire) != seen; });
                lock.lock();
                sleepers_++;
                work_.wait(lock, [&] { return (loop = find()) != nullptr; });
                sleepers_--;
            }
            loop->free_places--;
            const int place = loop->next_place++;
            loop->helpers.fetch_add(1, std::memory_order_relaxed);
            lock.unlock();
            work(*loop, place);
            lock.lock();
            if (loop->helpers.fetch_sub(1, std::memory_order_release) == 1) loop->finished.notify_one();
        }
    }

    std::mutex mutex_;
    std::condition_variable work_;
    std::vector<Loop *> loops_;  // that are not done
    int threads_ = 0, sleepers_ = 0;
    std::atomic<unsigned> announced_{0};  // loops so far
};

// Never destroyed, for its threads outlive the static objects.
std::atomic<Pool *> the_pool{nullptr};

Pool &pool() {
    static std::once_flag once;
    std::call_once(once, [] {
        the_pool = new Pool;
#ifndef _WIN32
        // A forked process has none of the threads, and the lock as it happened to be.
        pthread_atfork(nullptr, nullptr, [] { the_pool = new Pool; });
#endif
    });
    return *the_pool;
}

}  // namespace

int available_threads() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

void run_loop(int threads, int64_t count, int64_t grain, LoopBody body, const void *closure) {
    Loop loop(threads, count, grain, body, closure);
    pool().run(loop);
}

}  // namespace pdl
