// What ext/threads.h promises, checked by a program of its own, so that .ci/sanitize can build it for the thread sanitizer.
// Ends with 0 and prints nothing if it holds.
#include "threads.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <thread>
#include <vector>

namespace {

void expect(bool holds, const char *what) {
    if (holds) return;
    std::fprintf(stderr, "not so: %s\n", what);
    std::_Exit(1);
}

// Each index once; no two at once with the same number of a thread.
void visit(int threads, int64_t count, int64_t grain) {
    std::vector<int> visits(static_cast<size_t>(count));
    std::vector<std::atomic<bool>> busy(static_cast<size_t>(threads));
    pdl::parallel_for(threads, count, grain, [&](int64_t i, int thread) {
        expect(0 <= thread && thread < threads, "threads are numbered from 0 on");
        expect(!busy[static_cast<size_t>(thread)].exchange(true), "a number is of one thread at a time");
        visits[static_cast<size_t>(i)]++;
        busy[static_cast<size_t>(thread)] = false;
    });
    for (int of_index : visits) expect(of_index == 1, "each index is visited once");
}

void visit_all() {
    for (int threads : {1, 2, 3, 8})
        for (int64_t count : {0, 1, 2, 63, 1000})
            for (int64_t grain : {1, 7, 2000}) visit(threads, count, grain);
}

void throw_from(int64_t at) {
    std::atomic<int> inside{0};
    bool caught = false;
    try {
        pdl::parallel_for(3, 1000, 1, [&](int64_t i, int) {
            inside++;
            if (i >= at) {
                inside--;
                throw std::length_error("of the test");
            }
            inside--;
        });
    } catch (const std::length_error &) {
        caught = true;
    }
    expect(caught, "what a call throws arrives");
    expect(inside == 0, "nothing runs on after a loop has thrown");
}

// Ends only if as many threads take part.
void meet(int threads) {
    std::atomic<int> inside{0};
    pdl::parallel_for(threads, threads, 1, [&](int64_t, int) {
        inside++;
        while (inside < threads) std::this_thread::yield();
    });
}

// A loop of another thread keeps all helpers: this one goes on alone.
void go_on_alone() {
    std::atomic<int> held{0};
    std::atomic<bool> released{false};
    std::thread other([&] {
        pdl::parallel_for(8, 8, 1, [&](int64_t, int) {
            held++;
            while (!released) std::this_thread::yield();
        });
    });
    while (held < 8) std::this_thread::yield();
    visit(8, 1000, 1);
    released = true;
    other.join();
}

}  // namespace

int main() {
    alarm(120);  // what should end and does not
    visit_all();
    meet(8);
    for (int64_t at : {0, 1, 500, 999}) throw_from(at);
    go_on_alone();

    std::vector<std::thread> callers;
    for (int i = 0; i < 4; i++) callers.emplace_back([] {
        for (int n = 0; n < 5; n++) visit_all();
    });
    for (std::thread &caller : callers) caller.join();

    const pid_t child = fork();
    if (child == 0) {
        alarm(60);
        meet(8);
        visit_all();
        std::_Exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a forked process has threads of its own");
    return 0;
}
