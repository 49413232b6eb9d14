// Counts pairs of values in two maps. Neighbours mostly have the same pair, so runs are counted, not pixels. Runs go to
// a small cache; what it drops is sorted and summed. No input, however made, costs more than that sort.
#include <algorithm>
#include <cstddef>
#include <new>
#include <stdexcept>
#include <vector>

#include "compiler.h"
#include "panoptic.h"

namespace pdl {
namespace {

struct Entry {
    uint64_t key;
    int64_t count;
};

// Order of keys = order of signed pairs.
uint64_t key_of(int32_t first, int32_t second) {
    const auto shift = [](int32_t value) { return static_cast<uint32_t>(value) ^ 0x80000000u; };
    return static_cast<uint64_t>(shift(first)) << 32 | shift(second);
}

int32_t value_of(uint32_t half) { return static_cast<int32_t>(half ^ 0x80000000u); }

// Ascending by key, a digit at a time from the lowest; digits that all keys share cost nothing.
void radix_sort(std::vector<Entry> &entries) {
    constexpr int kDigitBits = 11;
    constexpr uint64_t kDigits = uint64_t{1} << kDigitBits;
    uint64_t differ = 0;
    for (const Entry &entry : entries) differ |= entry.key ^ entries[0].key;
    std::vector<Entry> other(entries.size());
    std::vector<size_t> places(kDigits);
    for (int shift = 0; shift < 64; shift += kDigitBits) {
        if (((differ >> shift) & (kDigits - 1)) == 0) continue;
        const auto digit = [shift](const Entry &entry) { return (entry.key >> shift) & (kDigits - 1); };
        std::fill(places.begin(), places.end(), 0);
        for (const Entry &entry : entries) places[digit(entry)]++;
        size_t before = 0;
        for (size_t &place : places) {
            const size_t count = place;
            place = before;
            before += count;
        }
        for (const Entry &entry : entries) other[places[digit(entry)]++] = entry;
        entries.swap(other);
    }
}

void sort_and_sum(std::vector<Entry> &entries) {
    constexpr size_t kFew = 4096;  // below it, the passes over digits cost more than they save
    if (entries.size() < kFew)
        std::sort(entries.begin(), entries.end(), [](const Entry &a, const Entry &b) { return a.key < b.key; });
    else
        radix_sort(entries);
    size_t used = 0;
    for (const Entry &entry : entries) {
        if (used > 0 && entries[used - 1].key == entry.key)
            entries[used - 1].count += entry.count;
        else
            entries[used++] = entry;
    }
    entries.resize(used);
}

class Counter {
public:
    Counter() : cache_(size_t{1} << kBits) {}

    void add(uint64_t key, int64_t count) {
        Entry &entry = cache_[(key * 0x9e3779b97f4a7c15u) >> (64 - kBits)];
        if (entry.key != key) {
            if (entry.count > 0) drop(entry);
            entry = {key, 0};
        }
        entry.count += count;
    }

    std::vector<Entry> &finish() {
        for (const Entry &entry : cache_)
            if (entry.count > 0) dropped_.push_back(entry);
        sort_and_sum(dropped_);
        return dropped_;
    }

private:
    static constexpr int kBits = 10;

    void drop(const Entry &entry) {
        dropped_.push_back(entry);
        if (dropped_.size() < limit_) return;
        sort_and_sum(dropped_);
        limit_ = std::max(limit_, 2 * dropped_.size());  // so that each sort is paid for by as many new entries
    }

    std::vector<Entry> cache_, dropped_;
    size_t limit_ = size_t{1} << 16;
};

// How many pixels from `i` on have the pair of pixel `i`.
PDL_CLONES int64_t run_length(const int32_t *first, const int32_t *second, int64_t i, int64_t end) {
    constexpr int64_t kStep = 16;
    const int32_t a = first[i], b = second[i];
    int64_t j = i + 1;
    while (j < end && first[j] == a && second[j] == b) {
        j++;
        if (j - i < 4) continue;
        while (j + kStep <= end) {
            int32_t differ = 0;
            for (int64_t k = 0; k < kStep; k++) differ |= (first[j + k] ^ a) | (second[j + k] ^ b);
            if (differ) break;
            j += kStep;
        }
        while (j < end && first[j] == a && second[j] == b) j++;
        break;
    }
    return j - i;
}

void count_range(const int32_t *first, const int32_t *second, int64_t begin, int64_t end, Counter &counter) {
    for (int64_t i = begin; i < end;) {
        const int64_t length = run_length(first, second, i, end);
        counter.add(key_of(first[i], second[i]), length);
        i += length;
    }
}

}  // namespace
}  // namespace pdl

extern "C" int pdl_pair_counts_cpu(const int32_t *first, const int32_t *second, int64_t pixels, int32_t threads,
                                   int64_t capacity, int32_t *pairs, int64_t *counts, int64_t *found) {
    if (pixels < 0 || capacity < 0) return PDL_INVALID_ARGUMENT;
    try {
        const int used = pdl::useful_threads(threads, pixels >> 16);
        std::vector<pdl::Counter> counters(used);
        bool out_of_memory = false;
#pragma omp parallel for num_threads(used) schedule(static)
        for (int i = 0; i < used; i++) {
            // An exception must not leave a parallel region.
            try {
                pdl::count_range(first, second, pixels * i / used, pixels * (i + 1) / used, counters[i]);
            } catch (const std::bad_alloc &) {
#pragma omp atomic write
                out_of_memory = true;
            }
        }
        if (out_of_memory) return PDL_OUT_OF_MEMORY;
        std::vector<pdl::Entry> &entries = counters[0].finish();
        for (int i = 1; i < used; i++) {
            const std::vector<pdl::Entry> &more = counters[i].finish();
            entries.insert(entries.end(), more.begin(), more.end());
        }
        if (used > 1) pdl::sort_and_sum(entries);
        *found = static_cast<int64_t>(entries.size());
        if (*found > capacity) return PDL_OK;
        for (size_t i = 0; i < entries.size(); i++) {
            pairs[2 * i] = pdl::value_of(static_cast<uint32_t>(entries[i].key >> 32));
            pairs[2 * i + 1] = pdl::value_of(static_cast<uint32_t>(entries[i].key));
            counts[i] = entries[i].count;
        }
    } catch (const std::bad_alloc &) {
        return PDL_OUT_OF_MEMORY;
    } catch (const std::length_error &) {
        return PDL_OUT_OF_MEMORY;
    }
    return PDL_OK;
}
