// What a tracker asks of a map: where its things lie on those of the frame before, and new ids for them.
#include <algorithm>
#include <cstddef>
#include <vector>

#include "compiler.h"
#include "panoptic.h"
#include "runs.h"
#include "status.h"
#include "threads.h"

namespace pdl {
namespace {

PDL_CLONES void gather(const int32_t *line, int64_t step, int32_t *out, int64_t count) {
    for (int64_t x = 0; x < count; x++) out[x] = line[x * step];
}

// How many of `size` pixels are looked at.
int64_t samples(int64_t size, int64_t step) { return (size - step / 2 + step - 1) / step; }

// Of some rows of the smaller map.
void count_rows(const pdl_overlap_arguments &a, const Places &places, int64_t begin, int64_t end, int32_t *out,
                int64_t *counts) {
    const int64_t width = samples(a.width, a.step);
    std::vector<int32_t> ids(static_cast<size_t>(width)), runs(ids.size() + 1), last_runs(runs.size());
    for (int64_t y = begin; y < end; y++) {
        gather(a.panoptic + (y * a.step + a.step / 2) * a.row_stride + a.step / 2, a.step, ids.data(), width);
        const int32_t *last = a.last + y * width;
        int32_t *row = out + y * width;
        find_runs(ids.data(), width, runs.data());
        find_runs(last, width, last_runs.data());
        const int32_t *run = runs.data(), *last_run = last_runs.data();
        int64_t *of_last = counts;
        int32_t place = 0;
        for (int32_t x = 0; x < width;) {
            if (x == *run) {
                place = static_cast<int32_t>(places.of(ids[x]));
                run++;
                std::fill(row + x, row + *run, place);
            }
            if (x == *last_run) {
                const int64_t before = last[x] >= 0 && last[x] < a.last_count ? last[x] : a.last_count;
                of_last = counts + before * (a.count + 1);
                last_run++;
            }
            const int32_t next = std::min(*run, *last_run);
            of_last[place] += next - x;
            x = next;
        }
    }
}

}  // namespace
}  // namespace pdl

extern "C" int pdl_thing_overlaps_cpu(const pdl_overlap_arguments *arguments, int32_t *places, int64_t *counts) {
    const pdl_overlap_arguments &a = *arguments;
    if (a.height < 0 || a.width < 0 || a.width >= INT32_MAX || a.count < 0 || a.last_count < 0 || a.row_stride < 0 ||
        a.count >= INT32_MAX || a.last_count >= INT32_MAX || a.step < 1 || a.step > INT32_MAX)
        return PDL_INVALID_ARGUMENT;
    const int64_t cells = (a.count + 1) * (a.last_count + 1);
    std::fill(counts, counts + cells, int64_t{0});
    const int64_t height = pdl::samples(a.height, a.step), width = pdl::samples(a.width, a.step);
    if (height == 0 || width == 0) return PDL_OK;
    return pdl::status_of([&] {
        const pdl::Places known(a.ids, a.count);
        // Another thread pays with counts of its own, which are added up.
        const int64_t work = height * width;
        const int used = pdl::useful_threads(a.threads, std::min(height, std::min(work >> 15, work / cells)));
        std::vector<int64_t> others(static_cast<size_t>((used - 1) * cells));
        pdl::parallel_for(used, used, 1, [&](int64_t i, int) {
            int64_t *own = i == 0 ? counts : others.data() + (i - 1) * cells;
            pdl::count_rows(a, known, height * i / used, height * (i + 1) / used, places, own);
        });
        for (size_t i = 0; i < others.size(); i++) counts[i % static_cast<size_t>(cells)] += others[i];
    });
}

extern "C" int pdl_renumber_cpu(int32_t *panoptic, int64_t height, int64_t width, int64_t row_stride,
                                const int32_t *ids, const int32_t *new_ids, int64_t count, int32_t threads) {
    if (height < 0 || width < 0 || width >= INT32_MAX || row_stride < 0 || count < 0) return PDL_INVALID_ARGUMENT;
    return pdl::status_of([&] {
        const pdl::Places known(ids, count);
        const int used = pdl::useful_threads(threads, std::min(height, height * width >> 16));
        std::vector<int32_t> all_runs(static_cast<size_t>(used * (width + 1)));
        pdl::parallel_for(used, used, 1, [&](int64_t i, int) {
            int32_t *runs = all_runs.data() + i * (width + 1);
            for (int64_t y = height * i / used; y < height * (i + 1) / used; y++) {
                int32_t *row = panoptic + y * row_stride;
                const int64_t found = pdl::find_runs(row, width, runs);
                for (int64_t k = 0; k < found; k++) {
                    const int64_t place = known.of(row[runs[k]]);
                    if (place < count) std::fill(row + runs[k], row + runs[k + 1], new_ids[place]);
                }
            }
        });
    });
}
