// Draws a panoptic map over its image in one pass: a row at a time, colors laid out by runs of one id, then mixed with
// the image as whole numbers, so that every machine draws the same bytes.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include "compiler.h"
#include "panoptic.h"
#include "runs.h"
#include "status.h"
#include "threads.h"

namespace pdl {
namespace {

constexpr int64_t kChannels = 3;
constexpr int64_t kBlock = 8;  // pixels of one color that are laid out at once

PDL_CLONES void mix(const uint8_t *image, const uint8_t *colors, uint8_t *out, int64_t count, int32_t opacity) {
    const auto weight = static_cast<uint16_t>(opacity), rest = static_cast<uint16_t>(256 - opacity);
    for (int64_t i = 0; i < count; i++)
        out[i] = static_cast<uint8_t>(static_cast<uint16_t>(image[i] * rest + colors[i] * weight + 128) >> 8);
}

PDL_CLONES void mark_changes(const int32_t *left, const int32_t *line, const int32_t *above, uint8_t *out,
                             int64_t count) {
    for (int64_t x = 0; x < count; x++)
        out[x] = static_cast<uint8_t>((line[x] != left[x]) | (line[x] != above[x]));
}

PDL_CLONES void unite(const uint8_t *more, uint8_t *out, int64_t count) {
    for (int64_t x = 0; x < count; x++) out[x] |= more[x];
}

// Of some rows of the picture, from top to bottom.
class Rows {
public:
    explicit Rows(const pdl_overlay_arguments &arguments)
        : a_(arguments),
          width_(arguments.width),
          before_(arguments.thickness / 2),
          runs_(static_cast<size_t>(width_ + 1)),
          identity_(static_cast<size_t>(2 * (width_ + 1))),
          colors_(static_cast<size_t>(kChannels * width_)),
          changes_(static_cast<size_t>(width_)),
          edges_(static_cast<size_t>(std::max(arguments.thickness, 1) * width_)),
          line_(static_cast<size_t>(width_)) {}

    void draw(int64_t begin, int64_t end, uint8_t *picture) {
        const int64_t after = std::max<int64_t>(a_.thickness - 1 - before_, 0);
        const bool outlined = a_.thickness > 0;
        // An outline needs the edges of some rows before and after its own, and edges the row above.
        const int64_t first = outlined ? std::max<int64_t>(begin - before_, 0) : begin;
        const int64_t stop = std::min(end + after, a_.height);
        for (int64_t y = outlined ? std::max<int64_t>(first - 1, 0) : begin; y < end + after; y++) {
            if (y < stop) {
                find_runs(a_.panoptic + y * width_, width_, runs_.data());
                if (y >= begin && y < end) color_row(y, picture + y * width_ * kChannels);
                if (outlined) identify(y);
                if (outlined && y >= first) find_edges(y);
            }
            const int64_t ready = y - after;
            if (outlined && ready >= begin && ready < end)
                draw_edges(std::max<int64_t>(ready - before_, 0), std::min(y, a_.height - 1),
                           picture + ready * width_ * kChannels);
        }
    }

private:
    const uint8_t *color_of(int32_t id) const {
        static const uint8_t nothing[4] = {0, 0, 0, 0};
        return id >= 0 && id < a_.count ? a_.colors + 4 * static_cast<int64_t>(id) : nothing;
    }

    // What a row's pixels are to an outline: a thing's id, -1 for all else. The pixel before the first is like it.
    int32_t *identity_of(int64_t y) { return identity_.data() + (y & 1) * (width_ + 1); }

    void identify(int64_t y) {
        const int32_t *ids = a_.panoptic + y * width_;
        int32_t *identity = identity_of(y) + 1;
        for (size_t k = 0; runs_[k] < width_; k++) {
            const int32_t id = ids[runs_[k]];
            std::fill(identity + runs_[k], identity + runs_[k + 1], color_of(id)[3] ? id : -1);
        }
        identity[-1] = identity[0];
    }

    uint8_t *edges_of(int64_t y) { return edges_.data() + (y % a_.thickness) * width_; }

    // The edges of a row, widened to both sides; to top and bottom it is done when they are drawn.
    void find_edges(int64_t y) {
        const int32_t *identity = identity_of(y);
        const int32_t *above = y > 0 ? identity_of(y - 1) : identity;
        mark_changes(identity, identity + 1, above + 1, changes_.data(), width_);
        uint8_t *edges = edges_of(y);
        std::fill(edges, edges + width_, uint8_t{0});
        for (int64_t step = 0; step < a_.thickness; step++) {
            const int64_t shift = before_ - step;  // a change at x is an edge at x + shift
            const int64_t count = width_ - (shift < 0 ? -shift : shift);
            if (count > 0) unite(changes_.data() + std::max<int64_t>(-shift, 0), edges + std::max<int64_t>(shift, 0), count);
        }
    }

    void color_row(int64_t y, uint8_t *out_row) {
        const int32_t *ids = a_.panoptic + y * width_;
        for (size_t k = 0; runs_[k] < width_; k++) {
            const uint8_t *color = color_of(ids[runs_[k]]);
            uint8_t pattern[kChannels * kBlock];
            for (int64_t i = 0; i < kChannels * kBlock; i++) pattern[i] = color[i % kChannels];
            uint8_t *out = &colors_[kChannels * runs_[k]];
            int64_t count = kChannels * (runs_[k + 1] - runs_[k]);
            for (; count >= kChannels * kBlock; count -= kChannels * kBlock, out += kChannels * kBlock)
                std::memcpy(out, pattern, sizeof pattern);
            std::memcpy(out, pattern, static_cast<size_t>(count));
        }
        mix(a_.image + y * width_ * kChannels, colors_.data(), out_row, width_ * kChannels, a_.opacity);
    }

    void draw_edges(int64_t first, int64_t last, uint8_t *out) {
        std::copy_n(edges_of(first), width_, line_.data());
        for (int64_t y = first + 1; y <= last; y++) unite(edges_of(y), line_.data(), width_);
        const auto least = static_cast<uint8_t>(a_.brightness);
        for (int64_t x = 0; x < width_;) {
            uint64_t some;
            if (x + 8 <= width_ && (std::memcpy(&some, &line_[x], 8), some == 0)) {
                x += 8;
                continue;
            }
            const int64_t end = std::min(x + 8, width_);
            for (; x < end; x++)
                if (line_[x])
                    for (int64_t c = 0; c < kChannels; c++)
                        out[kChannels * x + c] = std::max(out[kChannels * x + c], least);
        }
    }

    const pdl_overlay_arguments &a_;
    int64_t width_, before_;
    std::vector<int32_t> runs_, identity_;
    std::vector<uint8_t> colors_, changes_, edges_, line_;
};

}  // namespace
}  // namespace pdl

extern "C" int pdl_panoptic_overlay_cpu(const pdl_overlay_arguments *arguments, uint8_t *picture) {
    const pdl_overlay_arguments &a = *arguments;
    if (a.height < 0 || a.width < 0 || a.width >= INT32_MAX || a.count < 0 || a.opacity < 0 || a.opacity > 256 || a.thickness < 0 ||
        a.thickness > PDL_MAX_THICKNESS || a.brightness < 0 || a.brightness > 255)
        return PDL_INVALID_ARGUMENT;
    if (a.height == 0 || a.width == 0) return PDL_OK;
    // A strip needs the edges of the rows around it as well: many rows each.
    const int used = pdl::useful_threads(a.threads, std::min(a.height * a.width >> 16, a.height >> 4));
    return pdl::status_of([&] {
        pdl::parallel_for(used, used, 1, [&](int64_t i, int) {
            pdl::Rows(a).draw(a.height * i / used, a.height * (i + 1) / used, picture);
        });
    });
}
