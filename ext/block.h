// The pixels of a cell, sixteen at a time.
#ifndef PANODEEPLAB_BLOCK_H
#define PANODEEPLAB_BLOCK_H

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "compiler.h"
#include "grid.h"

namespace pdl {

// Some rows and columns of pixels, row after row: each is a lane of vectors, and a bit in sets of pixels. Loops over
// lanes have a fixed length; lanes beyond the pixels compute something that nobody reads.
struct Block {
    static constexpr int32_t kLanes = 16;
    int32_t y = 0, x = 0, rows = 0, columns = 0;

    uint32_t all_pixels() const { return (1u << (rows * columns)) - 1; }

    // The pixels of rows before `end`, and those of columns before it.
    PDL_FORCE_INLINE uint32_t above(int32_t end) const {
        return (1u << (std::clamp(end - y, 0, rows) * columns)) - 1;
    }
    PDL_FORCE_INLINE uint32_t left_of(int32_t end) const {
        const uint32_t of_row = (1u << std::clamp(end - x, 0, columns)) - 1;
        uint32_t pixels = 0;
        for (int32_t r = 0; r < rows; r++) pixels |= of_row << (r * columns);
        return pixels;
    }

    // The lanes that have a value, those beyond the pixels too.
    PDL_FORCE_INLINE static uint32_t lanes_with(const int32_t *values, int32_t value) {
        uint32_t found = 0;
        PDL_LANES
        for (int32_t q = 0; q < kLanes; q++) found |= static_cast<uint32_t>(values[q] == value) << q;
        return found;
    }

    PDL_FORCE_INLINE void read(const int32_t *map, int64_t width, int32_t *values) const {
        const int32_t *in = map + y * width + x;
        for (int32_t r = 0; r < rows; r++, in += width, values += columns) copy_row(in, values);
    }
    PDL_FORCE_INLINE void write(const int32_t *values, int32_t *map, int64_t width) const {
        int32_t *out = map + y * width + x;
        for (int32_t r = 0; r < rows; r++, out += width, values += columns) copy_row(values, out);
    }

private:
    PDL_FORCE_INLINE void copy_row(const int32_t *from, int32_t *to) const {
        if (columns == 4)  // stride 4: a fixed size becomes one store
            std::memcpy(to, from, 4 * sizeof(int32_t));
        else
            std::copy(from, from + columns, to);
    }
};

// Calls `visit` with each block of a cell.
template <typename Visit>
PDL_FORCE_INLINE void for_blocks(const Span &row, const Span &column, const Visit &visit) {
    const int32_t columns = std::min(column.end - column.begin, Block::kLanes), rows = Block::kLanes / columns;
    for (int32_t y = row.begin; y < row.end; y += rows)
        for (int32_t x = column.begin; x < column.end; x += columns)
            visit(Block{y, x, std::min(rows, row.end - y), std::min(columns, column.end - x)});
}

}  // namespace pdl

#endif
