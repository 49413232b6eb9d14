// Rows of a map are mostly long runs of one id.
#ifndef PANODEEPLAB_RUNS_H
#define PANODEEPLAB_RUNS_H

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "compiler.h"

namespace pdl {
namespace {

// Writes where runs of one id begin in a row, and its width behind the last: how many runs these are. `starts` has room
// for one more than the width. Blocks are compared without a branch, and most words of what comes out are 0.
PDL_CLONES int64_t find_runs(const int32_t *line, int64_t width, int32_t *starts) {
    constexpr int64_t kWord = 8, kBlock = 256;
    int64_t found = 0;
    if (width > 0) starts[found++] = 0;
    for (int64_t x = 1; x < width; x += kBlock) {
        const int64_t count = width - x < kBlock ? width - x : kBlock;
        uint8_t differs[kBlock] = {};
        for (int64_t k = 0; k < count; k++) differs[k] = line[x + k] != line[x + k - 1];
        for (int64_t k = 0; k < count; k += kWord) {
            uint64_t word;
            std::memcpy(&word, differs + k, sizeof word);
            if (word == 0) continue;
            for (int64_t j = k; j < k + kWord; j++) {
                starts[found] = static_cast<int32_t>(x + j);
                found += differs[j];
            }
        }
    }
    starts[found] = static_cast<int32_t>(width);
    return found;
}

}  // namespace

// Which of some distinct ids an id is.
class Places {
public:
    Places(const int32_t *ids, int64_t count) : ids_(ids), count_(count) {
        while (int64_t{1} << bits_ < 4 * count) bits_++;
        slots_.assign(size_t{1} << bits_, count);
        for (int64_t place = 0; place < count; place++) {
            size_t slot = first_slot(ids[place]);
            while (slots_[slot] != count) slot = next(slot);
            slots_[slot] = place;
        }
    }

    // Their number if it is none of them.
    int64_t of(int32_t id) const {
        for (size_t slot = first_slot(id);; slot = next(slot)) {
            const int64_t place = slots_[slot];
            if (place == count_ || ids_[place] == id) return place;
        }
    }

private:
    size_t first_slot(int32_t id) const {
        return (static_cast<uint32_t>(id) * uint64_t{0x9e3779b97f4a7c15u}) >> (64 - bits_);
    }
    size_t next(size_t slot) const { return (slot + 1) & (slots_.size() - 1); }

    const int32_t *ids_;
    int64_t count_;
    int bits_ = 2;
    std::vector<int64_t> slots_;
};

}  // namespace pdl

#endif
