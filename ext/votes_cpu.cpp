#include "votes.h"

#include <algorithm>
#include <cstdlib>

#include "arithmetic.h"
#include "compiler.h"
#include "semantic.h"
#include "threads.h"

namespace pdl {
namespace {

struct Vote {
    int32_t y, x;    // where it lands, in 1/16 of cells
    int32_t pixels;  // for which it is cast
};

using VoteLists = std::vector<std::vector<Vote>>;  // one list for each group of votes that share peaks

// How the cells of the votes lie in the output along one axis.
struct CellAxis {
    std::vector<int32_t> nearest;  // for each pixel, the sample nearest to it, the lower one of two
    std::vector<int32_t> pixels;   // for each sample that is nearest to some pixel: of how many
    int32_t cells;

    explicit CellAxis(const Axis &axis) {
        nearest.reserve(axis.weight.size());
        for (const Span &span : axis.spans)
            for (int32_t i = span.begin; i < span.end; i++) {
                nearest.push_back(axis.weight[i] > 0.5f ? span.upper : span.lower);
                if (pixels.size() <= static_cast<size_t>(nearest.back())) pixels.push_back(0);
                pixels[nearest.back()]++;
            }
        cells = static_cast<int32_t>(pixels.size());
    }
};

struct Cells {
    CellAxis rows, columns;
};

// The argmax of a sample, -1 with a NaN among its logits.
int32_t class_of(const LogitRow &row, int64_t classes, int32_t x, SampleClass found) {
    if (found != kHostile) return found >= 0 ? found : ~found;
    float best = row.values[x];
    int32_t winner = 0;
    for (int64_t c = 0; c < classes; c++) {
        const float value = row.values[c * row.step + x];
        if (!(value == value)) return -1;
        if (value > best) {
            best = value;
            winner = static_cast<int32_t>(c);
        }
    }
    return winner;
}

// The samples of a row, classified: a second time, for `group_pixels` does it too, but wants centres first.
struct ClassifiedRow {
    std::vector<float> room, best, second, third;
    std::vector<SampleClass> classes, runners_up;

    explicit ClassifiedRow(int32_t samples)
        : best(static_cast<size_t>(samples)),
          second(best.size()),
          third(best.size()),
          classes(best.size()),
          runners_up(best.size()) {}
};

void cast_votes(const Image &image, const Cells &cells, int32_t y, ClassifiedRow &line, VoteLists &lists) {
    const pdl_panoptic_arguments &a = image.arguments;
    const LogitRow logits = read_row(image.logits, y, cells.columns.cells, line.room);
    classify_samples(logits, a.classes, cells.columns.cells,
                     {line.classes.data(), line.runners_up.data(), line.best.data(), line.second.data(),
                      line.third.data()});
    const float *to_y = image.offset + y * a.low_width, *to_x = to_y + a.low_height * a.low_width;
    for (int32_t x = 0; x < cells.columns.cells; x++) {
        const int32_t index = class_of(logits, a.classes, x, line.classes[x]);
        if (index < 0 || !a.is_thing[index]) continue;
        const int32_t lands_y = vote_landing(y, to_y[x], cells.rows.cells);
        const int32_t lands_x = vote_landing(x, to_x[x], cells.columns.cells);
        if (lands_y < 0 || lands_x < 0) continue;
        lists[a.class_aware_votes ? index : 0].push_back(
            {lands_y, lands_x, cells.rows.pixels[y] * cells.columns.pixels[x]});
    }
}

// Adds up a row of cells and its neighbours; returns the largest sum. `raw` begins kVoteReach rows and columns before
// the row of sums.
PDL_CLONES int64_t smooth_row(const int64_t *raw, int64_t step, int64_t width, int64_t *column, int64_t *sums) {
    static_assert(kVoteWindow == 5, "five cells are written out here");
    const int64_t *r0 = raw, *r1 = raw + step, *r2 = raw + 2 * step, *r3 = raw + 3 * step, *r4 = raw + 4 * step;
    PDL_INDEPENDENT
    for (int64_t x = 0; x < width + 2 * kVoteReach; x++)
        column[x] = smooth_votes(r0[x], r1[x], r2[x], r3[x], r4[x]);
    int64_t most = 0;
    PDL_INDEPENDENT
    for (int64_t x = 0; x < width; x++) {
        const int64_t *c = column + x;
        const int64_t sum = smooth_votes(c[0], c[1], c[2], c[3], c[4]);
        sums[x] = sum;
        most = sum > most ? sum : most;
    }
    return most;
}

struct Cell {
    int32_t y, x;
};

// The votes of one group, counted in the box of cells that they and the smoothing reach; there are none elsewhere.
class VoteField {
public:
    VoteField(const std::vector<VoteLists> &threads, size_t group, const Cells &cells, int32_t threads_wanted) {
        int32_t y0 = INT32_MAX, x0 = INT32_MAX, y1 = -1, x1 = -1;
        for (const VoteLists &lists : threads)
            for (const Vote &vote : lists[group]) {
                y0 = std::min(y0, vote.y);
                x0 = std::min(x0, vote.x);
                y1 = std::max(y1, vote.y);
                x1 = std::max(x1, vote.x);
            }
        if (y1 < 0) return;
        y0_ = std::max(y0 / kVoteSteps - kVoteReach, 0);
        x0_ = std::max(x0 / kVoteSteps - kVoteReach, 0);
        height_ = std::min(y1 / kVoteSteps + 2 + kVoteReach, cells.rows.cells) - y0_;
        width_ = std::min(x1 / kVoteSteps + 2 + kVoteReach, cells.columns.cells) - x0_;
        step_ = width_ + 2 * kVoteReach;
        raw_.resize(static_cast<size_t>((height_ + 2 * kVoteReach) * step_));
        for (const VoteLists &lists : threads)
            for (const Vote &vote : lists[group]) add(vote);
        smooth(threads_wanted);
    }

    // Cells with more than `limit` where nobody in the window has more, and nobody earlier in raster order as many.
    std::vector<Cell> peaks(int64_t limit, int32_t radius) const {
        std::vector<Cell> found;
        for (int32_t y = 0; y < height_; y++) {
            if (largest_[y] <= limit) continue;
            const int64_t *row = sums_.data() + y * int64_t{width_};
            for (int32_t x = 0; x < width_; x++)
                if (row[x] > limit && is_peak(y, x, 1) && (radius == 1 || is_peak(y, x, radius)))
                    found.push_back({y0_ + y, x0_ + x});
        }
        return found;
    }

    int64_t at(const Cell &cell) const { return sums_[(cell.y - y0_) * int64_t{width_} + cell.x - x0_]; }

    // The mean of the votes on a peak and the cells next to it, in output pixels.
    Center mean(const Cell &cell, const pdl_panoptic_arguments &a) const {
        VoteMoments moments;
        const int64_t *first = raw_.data() + (cell.y - y0_ + kVoteReach - 1) * step_ + cell.x - x0_ + kVoteReach - 1;
        for (int32_t i = 0; i < 3; i++)
            for (int32_t j = 0; j < 3; j++) moments.add(first[i * step_ + j], i, j);
        const bool align_corners = a.align_corners != 0;
        return {vote_pixel(cell.y, moments.votes, moments.y, a.stride, align_corners, a.height),
                vote_pixel(cell.x, moments.votes, moments.x, a.stride, align_corners, a.width), 0.0f,
                static_cast<int32_t>(at(cell) / kOneVote)};
    }

private:
    void add(const Vote &vote) {
        int64_t *cell = raw_.data() + (vote.y / kVoteSteps - y0_ + kVoteReach) * step_ + vote.x / kVoteSteps - x0_ +
                        kVoteReach;
        for (int32_t i = 0; i < 2; i++)
            for (int32_t j = 0; j < 2; j++)
                cell[i * step_ + j] += vote.pixels * vote_share(vote.y, i) * vote_share(vote.x, j);
    }

    void smooth(int32_t threads) {
        sums_.resize(static_cast<size_t>(height_) * static_cast<size_t>(width_));
        largest_.resize(static_cast<size_t>(height_));
        const int used = useful_threads(threads, static_cast<int64_t>(sums_.size()) / 8192);
        std::vector<std::vector<int64_t>> columns(static_cast<size_t>(used),
                                                  std::vector<int64_t>(static_cast<size_t>(step_)));
        parallel_for(used, height_, 8, [&](int64_t y, int thread) {
            largest_[y] = smooth_row(raw_.data() + y * step_, step_, width_, columns[thread].data(),
                                     sums_.data() + y * width_);
        });
    }

    bool is_peak(int32_t y, int32_t x, int32_t radius) const {
        const int64_t here = sums_[y * int64_t{width_} + x];
        const int32_t top = std::max(y - radius, 0), bottom = std::min(y + radius, height_ - 1);
        const int32_t left = std::max(x - radius, 0), right = std::min(x + radius, width_ - 1);
        for (int32_t i = top; i <= bottom; i++)
            for (int32_t j = left; j <= right; j++) {
                const int64_t there = sums_[i * int64_t{width_} + j];
                if (beats_votes(there, here, i < y || (i == y && j < x))) return false;
            }
        return true;
    }

    int32_t y0_ = 0, x0_ = 0, height_ = 0, width_ = 0;  // of the box
    int64_t step_ = 0;
    std::vector<int64_t> raw_;      // with a margin of kVoteReach
    std::vector<int64_t> sums_;     // smoothed
    std::vector<int64_t> largest_;  // of each row of them
};

bool is_near(const Cell &a, const Cell &b, int32_t radius) {
    return std::abs(a.y - b.y) <= radius && std::abs(a.x - b.x) <= radius;
}

// With top_k centres or more, those with more votes than the top_k-th.
void limit(std::vector<Center> &centers, int64_t top_k) {
    if (static_cast<int64_t>(centers.size()) < top_k) return;
    std::vector<int32_t> votes;
    for (const Center &center : centers) votes.push_back(center.votes);
    const auto last = votes.begin() + (top_k - 1);
    std::nth_element(votes.begin(), last, votes.end(), [](int32_t a, int32_t b) { return a > b; });
    const int32_t cut = *last;
    centers.erase(
        std::remove_if(centers.begin(), centers.end(), [&](const Center &center) { return center.votes <= cut; }),
        centers.end());
}

}  // namespace

std::vector<Center> find_voted_centers(const Image &image, const std::vector<Center> &heatmap_peaks) {
    const pdl_panoptic_arguments &a = image.arguments;
    const Cells cells = {CellAxis(image.rows), CellAxis(image.columns)};
    const int32_t radius = vote_radius(a.nms_kernel, a.stride);
    const int64_t threshold = a.vote_threshold * kOneVote;

    const size_t groups = a.class_aware_votes ? static_cast<size_t>(a.classes) : 1;
    const int used = useful_threads(a.threads, cells.rows.cells / 16);
    std::vector<VoteLists> votes(static_cast<size_t>(used), VoteLists(groups));
    std::vector<ClassifiedRow> lines(votes.size(), ClassifiedRow(cells.columns.cells));
    parallel_for(used, cells.rows.cells, 4, [&](int64_t y, int thread) {
        cast_votes(image, cells, static_cast<int32_t>(y), lines[thread], votes[thread]);
    });

    // A heatmap peak belongs to the group with the most votes beside it: the peaks of others count by themselves.
    struct Supported {
        Cell cell;
        int64_t sum;
        size_t group;
    };
    std::vector<Supported> supported;
    for (const Center &peak : heatmap_peaks)
        supported.push_back({{cells.rows.nearest[peak.y], cells.columns.nearest[peak.x]}, 0, groups});
    struct Found {
        Cell cell;
        int64_t sum;
        Center center;
        size_t group;
    };
    std::vector<Found> found;
    const int64_t least = supported.empty() ? threshold : threshold / kSupportShare;
    for (size_t group = 0; group < groups; group++) {
        const VoteField field(votes, group, cells, a.threads);
        for (const Cell &cell : field.peaks(least, radius)) {
            const int64_t sum = field.at(cell);
            found.push_back({cell, sum, field.mean(cell, a), group});
            for (Supported &peak : supported) {
                if (sum <= peak.sum || !is_near(cell, peak.cell, radius)) continue;
                peak.sum = sum;
                peak.group = group;
            }
        }
    }

    std::vector<Center> centers;
    for (size_t k = 0; k < supported.size(); k++) {
        if (supported[k].sum == 0) continue;
        centers.push_back(heatmap_peaks[k]);
        centers.back().votes = static_cast<int32_t>(supported[k].sum / kOneVote);
    }
    const Heatmap heatmap = {image.center, a.low_width, image.rows, image.columns};
    for (const Found &peak : found) {
        if (peak.sum <= threshold) continue;
        const bool known = std::any_of(supported.begin(), supported.end(), [&](const Supported &other) {
            return other.group == peak.group && is_near(other.cell, peak.cell, radius);
        });
        if (known) continue;
        centers.push_back(peak.center);
        const float score = sample_heatmap(heatmap, peak.center.y, peak.center.x);
        centers.back().score = score == score ? score : 0.0f;
    }
    limit(centers, a.top_k);
    std::stable_sort(centers.begin(), centers.end(),
                     [](const Center &p, const Center &q) { return p.y != q.y ? p.y < q.y : p.x < q.x; });
    return centers;
}

}  // namespace pdl
