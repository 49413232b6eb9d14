#include <algorithm>

#include "grouping.h"
#include "threads.h"

namespace pdl {
namespace {

PDL_CLONES void look_up(const int32_t *ids, int32_t *values, int32_t count) {
    for (int32_t i = 0; i < count; i++) values[i] = ids[values[i]];
}

}  // namespace

void write_ids(const Image &image, const std::vector<int32_t> &cells, const std::vector<int32_t> &ids,
               int32_t *panoptic) {
    const std::vector<Span> &rows = image.rows.spans, &columns = image.columns.spans;
    const auto row_spans = static_cast<int64_t>(rows.size());
    const int used = useful_threads(image.arguments.threads, row_spans / 4);
    parallel_for(used, row_spans, std::max<int64_t>(row_spans / (8 * used), 4), [&](int64_t i, int) {
        const int32_t *line = cells.data() + i * static_cast<int64_t>(columns.size());
        for (size_t j = 0; j < columns.size();) {
            const int32_t code = line[j];
            const size_t first = j;
            while (j < columns.size() && line[j] == code) j++;
            const int32_t begin = columns[first].begin, count = columns[j - 1].end - begin;
            for (int32_t y = rows[i].begin; y < rows[i].end; y++) {
                int32_t *out = panoptic + y * image.arguments.width + begin;
                if (code == kMixed)
                    look_up(ids.data(), out, count);
                else
                    std::fill(out, out + count, ids[code]);
            }
        }
    });
}

}  // namespace pdl
