// Rows of samples, seen as the corners of the cells above and below them.
#ifndef PANODEEPLAB_CORNER_ROW_H
#define PANODEEPLAB_CORNER_ROW_H

#include <cstdint>
#include <vector>

#include "grid.h"
#include "logits.h"
#include "semantic.h"

namespace pdl {

// A row of samples as the cells above and below see it: entry j is the corner between the cells j - 1 and j.
struct CornerRow {
    int32_t sample = -1;  // its row in the maps; -1: not filled yet
    LogitRow logits;
    bool is_located = false, is_softened = false;
    std::vector<float> room;  // of logits
    std::vector<SampleClass> states, runners_up;
    std::vector<float> best, second, third, vote_y, vote_x;
    std::vector<int32_t> instances;  // of the votes, as NearestCenter::locate finds them

    explicit CornerRow(size_t corners)
        : states(corners),
          runners_up(corners),
          best(corners),
          second(corners),
          third(corners),
          vote_y(corners),
          vote_x(corners),
          instances(corners) {}
};

// How the corners of a row and the samples of the maps belong together.
struct Corners {
    int32_t samples, count;
    int32_t first;  // the corner of sample 0; at the left border, positions are clamped and sample 0 has two

    explicit Corners(const std::vector<Span> &columns)
        : samples(columns.back().upper + 1),
          count(static_cast<int32_t>(columns.size()) + 1),
          first(columns.front().lower == columns.front().upper ? 1 : 0) {}

    // Repeats the samples at the borders, where a corner is not a sample of its own.
    template <typename T>
    void pad(std::vector<T> &values) const {
        if (first == 1) values[0] = values[1];
        for (int32_t j = first + samples; j < count; j++) values[j] = values[j - 1];
    }
};

}  // namespace pdl

#endif
