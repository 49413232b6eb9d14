// Counts pairs of values in two maps. Neighbours mostly have the same pair, so runs are counted, not pixels. Runs go to
// a small cache; what it drops is sorted and summed. No input, however made, costs more than that sort.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include "compiler.h"
#include "panoptic.h"
#include "status.h"
#include "threads.h"

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

// A map of int32 ids.
struct IdMap {
    const int32_t *ids;

    int32_t operator[](int64_t i) const { return ids[i]; }
};

// A map of ids in three bytes each, the lowest first: the RGB pictures of COCO panoptic files.
struct RgbMap {
    const uint8_t *bytes;

    int32_t operator[](int64_t i) const {
        const uint8_t *p = bytes + 3 * i;
        return p[0] | p[1] << 8 | p[2] << 16;
    }
};

constexpr int64_t kStep = 8;    // pixels looked at together: a word of bytes
constexpr int64_t kBlock = 512;  // pixels compared at once

inline bool any(const uint8_t *bytes) {
    uint64_t word;
    std::memcpy(&word, bytes, sizeof word);
    return word != 0;
}

// Writes the pixels i + k, k < count <= kBlock, that are unlike the pixel before them: how many these are. A block is
// compared without a branch, and most words of the result are 0. `starts` has room for kBlock + 1.
PDL_CLONES int64_t run_starts(IdMap first, IdMap second, int64_t i, int64_t count, int64_t *starts) {
    uint8_t differs[kBlock] = {};
    const int32_t *a = first.ids + i, *b = second.ids + i;
    for (int64_t k = 0; k < count; k++) differs[k] = (a[k] != a[k - 1]) | (b[k] != b[k - 1]);
    int64_t found = 0;
    for (int64_t k = 0; k < count; k += kStep) {
        if (!any(differs + k)) continue;
        for (int64_t j = k; j < k + kStep; j++) {
            starts[found] = i + j;
            found += differs[j];
        }
    }
    return found;
}

// The same, byte by byte: each is compared with that of three before, and no pixel need be put together.
PDL_CLONES int64_t run_starts(RgbMap first, RgbMap second, int64_t i, int64_t count, int64_t *starts) {
    uint8_t differs[3 * kBlock] = {};
    const uint8_t *a = first.bytes + 3 * i, *b = second.bytes + 3 * i;
    for (int64_t k = 0; k < 3 * count; k++) differs[k] = (a[k] != a[k - 3]) | (b[k] != b[k - 3]);
    int64_t found = 0;
    for (int64_t k = 0; k < count; k += kStep) {
        const uint8_t *d = differs + 3 * k;
        if (!any(d) && !any(d + kStep) && !any(d + 2 * kStep)) continue;
        for (int64_t j = k; j < k + kStep; j++, d += 3) {
            starts[found] = i + j;
            found += d[0] | d[1] | d[2];
        }
    }
    return found;
}

template <typename Map>
void count_range(Map first, Map second, int64_t begin, int64_t end, Counter &counter) {
    if (begin >= end) return;
    int64_t starts[kBlock + 1], run = begin;
    for (int64_t i = begin + 1; i < end; i += kBlock) {
        const int64_t found = run_starts(first, second, i, std::min(kBlock, end - i), starts);
        for (int64_t k = 0; k < found; k++) {
            counter.add(key_of(first[run], second[run]), starts[k] - run);
            run = starts[k];
        }
    }
    counter.add(key_of(first[run], second[run]), end - run);
}

}  // namespace
}  // namespace pdl

extern "C" int pdl_pair_counts_cpu(const void *first, const void *second, int64_t id_bytes, int64_t pixels,
                                   int32_t threads, int64_t capacity, int32_t *pairs, int64_t *counts,
                                   int64_t *found) {
    if (pixels < 0 || capacity < 0 || (id_bytes != 3 && id_bytes != 4)) return PDL_INVALID_ARGUMENT;
    return pdl::status_of([&] {
        const int used = pdl::useful_threads(threads, pixels >> 16);
        std::vector<pdl::Counter> counters(used);
        pdl::parallel_for(used, used, 1, [&](int64_t i, int) {
            const int64_t begin = pixels * i / used, end = pixels * (i + 1) / used;
            const auto count = [&](auto a, auto b) { pdl::count_range(a, b, begin, end, counters[i]); };
            if (id_bytes == 4)
                count(pdl::IdMap{static_cast<const int32_t *>(first)},
                      pdl::IdMap{static_cast<const int32_t *>(second)});
            else
                count(pdl::RgbMap{static_cast<const uint8_t *>(first)},
                      pdl::RgbMap{static_cast<const uint8_t *>(second)});
        });
        std::vector<pdl::Entry> &entries = counters[0].finish();
        for (int i = 1; i < used; i++) {
            const std::vector<pdl::Entry> &more = counters[i].finish();
            entries.insert(entries.end(), more.begin(), more.end());
        }
        if (used > 1) pdl::sort_and_sum(entries);
        *found = static_cast<int64_t>(entries.size());
        if (*found > capacity) return;
        for (size_t i = 0; i < entries.size(); i++) {
            pairs[2 * i] = pdl::value_of(static_cast<uint32_t>(entries[i].key >> 32));
            pairs[2 * i + 1] = pdl::value_of(static_cast<uint32_t>(entries[i].key));
            counts[i] = entries[i].count;
        }
    });
}
