// Drives the C interface with random and hostile inputs; built with sanitizers by .ci/sanitize. Beyond what they report
// it checks that one thread and several give the same bytes, that every output is written within its bounds, and that
// areas add up. Its digests tell whether two builds, or two machines, give the same bits: .ci/emulate_avx512.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "panoptic.h"

namespace {

using Random = std::mt19937_64;

int64_t whole(Random &random, int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(random);
}

float normal(Random &random) { return std::normal_distribution<float>()(random); }

bool chance(Random &random, double probability) { return std::bernoulli_distribution(probability)(random); }

[[noreturn]] void fail(uint64_t seed, const char *what) {
    std::fprintf(stderr, "seed %llu: %s\n", static_cast<unsigned long long>(seed), what);
    std::exit(1);
}

// Of the bits of a seed's outputs (FNV-1a).
constexpr uint64_t kNoDigest = 0xcbf29ce484222325;
uint64_t digest = kNoDigest;

template <typename... Values>
void digest_all(const std::vector<Values> &...vectors) {
    const auto add = [](const void *values, size_t size) {
        for (size_t i = 0; i < size; i++)
            digest = (digest ^ static_cast<const unsigned char *>(values)[i]) * 0x100000001b3;
    };
    (add(vectors.data(), vectors.size() * sizeof(Values)), ...);
}

// Exactly as large as the kernel may read, so that one more element is an error.
std::vector<float> random_map(Random &random, int64_t size, int64_t width) {
    static const float hostile[] = {NAN, INFINITY, -INFINITY, 3e38f, -3.4e38f, 1e30f, -1e30f, 1e-42f, 0.0f};
    static const float scales[] = {1e-30f, 1.0f, 1.0f, 8.0f, 1e4f, 1e9f};
    std::vector<float> values(static_cast<size_t>(size));
    const float scale = scales[whole(random, 0, 5)];
    const int64_t smooth = whole(random, 1, 6);
    const bool quantised = chance(random, 0.4);
    for (int64_t i = 0; i < size; i++) {
        const bool held = i >= width && i % smooth != 0;
        values[i] = held ? values[chance(random, 0.5) ? i - 1 : i - width] : normal(random);
        if (quantised) values[i] = std::round(values[i] * 2) / 2;
    }
    for (float &value : values) value *= scale;
    if (chance(random, 0.4))
        for (int64_t n = whole(random, 1, 8); n > 0; n--)
            values[whole(random, 0, size - 1)] = hostile[whole(random, 0, 8)];
    if (chance(random, 0.05)) values.assign(values.size(), hostile[whole(random, 0, 8)]);
    return values;
}

struct Outputs {
    std::vector<int32_t> panoptic, centers, center_votes, num_centers, ids, areas, boxes, segment_centers, num_segments;
    std::vector<float> scores, probabilities;

    explicit Outputs(const pdl_panoptic_arguments &a)
        : panoptic(a.batch * a.height * a.width, 12345),
          centers(a.batch * a.top_k * 2),
          center_votes(a.batch * a.top_k),
          num_centers(a.batch),
          ids(a.batch * (a.top_k + a.classes)),
          areas(ids.size()),
          boxes(ids.size() * 4),
          segment_centers(ids.size()),
          num_segments(a.batch),
          scores(a.batch * a.top_k),
          probabilities(ids.size()) {}

    pdl_panoptic_results pointers() {
        return {panoptic.data(), centers.data(), scores.data(), center_votes.data(),    num_centers.data(),
                ids.data(),      areas.data(),   boxes.data(),  segment_centers.data(), probabilities.data(),
                num_segments.data()};
    }

    bool equals(const Outputs &o) const {
        return panoptic == o.panoptic && centers == o.centers && center_votes == o.center_votes &&
               num_centers == o.num_centers && ids == o.ids && areas == o.areas && boxes == o.boxes &&
               segment_centers == o.segment_centers && num_segments == o.num_segments && scores == o.scores &&
               probabilities == o.probabilities;
    }

    void add_to_digest() const {
        digest_all(panoptic, centers, center_votes, num_centers, ids, areas, boxes, segment_centers, num_segments,
                   scores, probabilities);
    }
};

void segment_once(uint64_t seed) {
    Random random(seed);
    pdl_panoptic_arguments a{};
    a.batch = whole(random, 0, 2);
    a.classes = chance(random, 0.1) ? whole(random, 1, 200) : whole(random, 1, 20);
    a.low_height = chance(random, 0.2) ? 1 : whole(random, 1, 40);
    a.low_width = chance(random, 0.2) ? 1 : whole(random, 1, chance(random, 0.05) ? 600 : 60);
    a.stride = chance(random, 0.1) ? whole(random, 1, 40) : whole(random, 1, 8);
    a.align_corners = chance(random, 0.4);
    const int64_t full_height = a.align_corners ? (a.low_height - 1) * a.stride + 1 : a.low_height * a.stride;
    const int64_t full_width = a.align_corners ? (a.low_width - 1) * a.stride + 1 : a.low_width * a.stride;
    a.height = chance(random, 0.5) ? full_height : whole(random, 1, full_height);
    a.width = chance(random, 0.5) ? full_width : whole(random, 1, full_width);
    a.top_k = chance(random, 0.5) ? 200 : whole(random, 1, 300);
    a.nms_kernel = chance(random, 0.1) ? 255 : 2 * whole(random, 0, 20) + 1;
    a.stuff_area = chance(random, 0.5) ? 0 : whole(random, 0, 500);
    a.label_divisor = 1000;
    a.void_label = chance(random, 0.5) ? -1 : 0;
    a.center_threshold = chance(random, 0.5) ? 0.1f : normal(random);
    a.semantic_probability = chance(random, 0.3);
    a.center_source = static_cast<int32_t>(whole(random, PDL_CENTERS_HEATMAP, PDL_CENTERS_BOTH));
    a.vote_threshold = static_cast<int32_t>(chance(random, 0.1) ? INT32_MAX : whole(random, 0, 200));
    a.class_aware_votes = chance(random, 0.5);

    const int64_t plane = a.low_height * a.low_width, maps = a.batch > 0 ? a.batch : 1;
    const std::vector<float> semantic = random_map(random, maps * a.classes * plane, a.low_width);
    const std::vector<float> center = random_map(random, maps * plane, a.low_width);
    const std::vector<float> offset = random_map(random, maps * 2 * plane, a.low_width);
    std::vector<uint8_t> is_thing(a.classes);
    for (uint8_t &flag : is_thing) flag = chance(random, 0.5);
    // As halves, any bits are a number or NaN.
    std::vector<uint16_t> halves(semantic.size());
    a.semantic_type = static_cast<int32_t>(chance(random, 0.6) ? PDL_FLOAT32 : whole(random, 1, 2));
    for (uint16_t &half : halves) half = static_cast<uint16_t>(whole(random, 0, chance(random, 0.1) ? 0xffff : 0x4fff));
    const int64_t channels_first[4] = {a.classes * plane, plane, a.low_width, 1};
    const int64_t channels_last[4] = {a.classes * plane, 1, a.low_width * a.classes, a.classes};
    std::memcpy(a.semantic_strides, chance(random, 0.6) ? channels_first : channels_last, sizeof(a.semantic_strides));
    a.semantic = a.semantic_type == PDL_FLOAT32 ? static_cast<const void *>(semantic.data()) : halves.data();
    a.center = center.data();
    a.offset = offset.data();
    a.is_thing = is_thing.data();

    Outputs one(a), several(a);
    a.threads = 1;
    const pdl_panoptic_results of_one = one.pointers(), of_several = several.pointers();
    if (pdl_panoptic_segmentation_cpu(&a, &of_one) != PDL_OK) fail(seed, "refused good arguments");
    a.threads = static_cast<int32_t>(whole(random, 2, 9));
    if (pdl_panoptic_segmentation_cpu(&a, &of_several) != PDL_OK) fail(seed, "refused good arguments");
    if (!one.equals(several)) fail(seed, "threads change the result");
    one.add_to_digest();
    for (int64_t n = 0; n < a.batch; n++) {
        for (int64_t k = 0; k < one.num_centers[n]; k++) {
            const int32_t *center = one.centers.data() + (n * a.top_k + k) * 2;
            if (center[0] < 0 || center[0] >= a.height || center[1] < 0 || center[1] >= a.width)
                fail(seed, "a center outside of the image");
            if (one.center_votes[n * a.top_k + k] > a.height * a.width) fail(seed, "more votes than pixels");
        }
        int64_t area = 0, named = 0;
        for (int64_t i = 0; i < a.top_k + a.classes; i++) area += one.areas[n * (a.top_k + a.classes) + i];
        for (int64_t i = 0; i < a.height * a.width; i++) {
            const int32_t id = one.panoptic[n * a.height * a.width + i];
            if (id != a.void_label && (id < 0 || id / 1000 >= a.classes)) fail(seed, "an id of no class");
            named += id != a.void_label;
        }
        if (a.void_label < 0 ? area != named : area < named) fail(seed, "areas do not add up to the map");
    }
}

void refuse_once(uint64_t seed) {
    Random random(seed);
    pdl_panoptic_arguments a{};
    a.batch = a.low_height = a.low_width = a.height = a.width = a.stride = a.classes = a.top_k = a.nms_kernel = 1;
    a.label_divisor = 1;
    int64_t *fields[] = {&a.low_height, &a.low_width, &a.height, &a.width,
                         &a.stride,     &a.classes,   &a.top_k,  &a.nms_kernel};
    static const int64_t values[] = {0, -1, INT64_MIN, INT64_MAX, int64_t{1} << 40};
    *fields[whole(random, 0, 7)] = values[whole(random, 0, 4)];
    const pdl_panoptic_results nowhere{};
    if (pdl_panoptic_segmentation_cpu(&a, &nowhere) != PDL_INVALID_ARGUMENT) fail(seed, "took bad arguments");
}

// The low three bytes of each id as a picture: the pairs are those of the ids without their highest byte.
void count_colors(uint64_t seed, std::vector<int32_t> *maps, int32_t threads) {
    const auto pixels = static_cast<int64_t>(maps[0].size());
    std::vector<uint8_t> colors[2];
    for (int m = 0; m < 2; m++) {
        for (int32_t &id : maps[m]) {
            id &= 0xffffff;
            for (int shift = 0; shift < 24; shift += 8) colors[m].push_back(static_cast<uint8_t>(id >> shift));
        }
        colors[m].shrink_to_fit();
    }
    std::vector<int32_t> pairs[2];
    std::vector<int64_t> counts[2];
    for (int kind = 0; kind < 2; kind++) {
        const void *first = kind ? static_cast<const void *>(colors[0].data()) : maps[0].data();
        const void *second = kind ? static_cast<const void *>(colors[1].data()) : maps[1].data();
        const int64_t id_bytes = kind ? 3 : 4;
        int64_t found = -1;
        pdl_pair_counts_cpu(first, second, id_bytes, pixels, threads, 0, nullptr, nullptr, &found);
        pairs[kind].resize(2 * found);
        counts[kind].resize(found);
        if (pdl_pair_counts_cpu(first, second, id_bytes, pixels, 1, found, pairs[kind].data(), counts[kind].data(),
                                &found) != PDL_OK)
            fail(seed, "refused to count");
    }
    if (pairs[0] != pairs[1] || counts[0] != counts[1]) fail(seed, "colors do not count as ids do");
    int64_t nothing = 0;
    if (pdl_pair_counts_cpu(maps[0].data(), maps[1].data(), 2, pixels, threads, 0, nullptr, nullptr, &nothing) !=
        PDL_INVALID_ARGUMENT)
        fail(seed, "took ids of two bytes");
}

void count_once(uint64_t seed) {
    Random random(seed);
    const int64_t pixels = chance(random, 0.05) ? whole(random, 0, 400000) : whole(random, 0, 3000);
    const int64_t values = whole(random, 1, chance(random, 0.2) ? 1 << 30 : 20), run = whole(random, 1, 40);
    std::vector<int32_t> maps[2];
    for (std::vector<int32_t> &map : maps) {
        map.resize(pixels);
        for (int64_t i = 0; i < pixels; i++)
            map[i] = i > 0 && whole(random, 0, run) ? map[i - 1] : static_cast<int32_t>(whole(random, -values, values));
    }
    int64_t found = -1;
    const auto threads = static_cast<int32_t>(whole(random, 1, 8));
    if (pdl_pair_counts_cpu(maps[0].data(), maps[1].data(), 4, pixels, threads, 0, nullptr, nullptr, &found) != PDL_OK)
        fail(seed, "refused to count");
    std::vector<int32_t> pairs(found * 2);
    std::vector<int64_t> counts(found);
    int64_t again = -1, sum = 0;
    pdl_pair_counts_cpu(maps[0].data(), maps[1].data(), 4, pixels, 1, found, pairs.data(), counts.data(), &again);
    for (const int64_t count : counts) sum += count;
    if (again != found || sum != pixels) fail(seed, "counts do not add up");
    digest_all(pairs, counts);
    for (int64_t i = 1; i < found; i++) {
        const bool ascending = pairs[2 * i - 2] < pairs[2 * i] ||
                               (pairs[2 * i - 2] == pairs[2 * i] && pairs[2 * i - 1] < pairs[2 * i + 1]);
        if (!ascending) fail(seed, "pairs are not in ascending order");
    }
    count_colors(seed, maps, threads);
}

struct Targets {
    std::vector<int64_t> sem_seg;
    std::vector<float> center, offset, sem_seg_weights, center_weights, offset_weights;
    std::vector<double> centers;
    std::vector<uint8_t> is_instance;

    explicit Targets(const pdl_targets_arguments &a)
        : sem_seg(a.height * a.width, 12345),
          center(sem_seg.size(), -1.0f),
          offset(sem_seg.size() * 2, NAN),
          sem_seg_weights(sem_seg.size(), NAN),
          center_weights(sem_seg.size(), NAN),
          offset_weights(sem_seg.size(), NAN),
          centers(a.count * 2, NAN),
          is_instance(a.count, 2) {}

    pdl_targets_results pointers() {
        return {sem_seg.data(),        center.data(),         offset.data(),  sem_seg_weights.data(),
                center_weights.data(), offset_weights.data(), centers.data(), is_instance.data()};
    }

    // Also fails where something has not been written, as NaN is unlike itself.
    bool equals(const Targets &o) const {
        return sem_seg == o.sem_seg && center == o.center && offset == o.offset &&
               sem_seg_weights == o.sem_seg_weights && center_weights == o.center_weights &&
               offset_weights == o.offset_weights && centers == o.centers && is_instance == o.is_instance;
    }

    void add_to_digest() const {
        digest_all(sem_seg, center, offset, sem_seg_weights, center_weights, offset_weights, centers, is_instance);
    }
};

void make_targets_once(uint64_t seed) {
    Random random(seed);
    pdl_targets_arguments a{};
    const bool large = chance(random, 0.03);
    a.height = large ? whole(random, 200, 700) : whole(random, 0, 40);
    a.width = large ? whole(random, 200, 700) : whole(random, 0, 70);
    a.count = chance(random, 0.1) ? whole(random, 0, 2000) : whole(random, 0, 20);
    a.reach = whole(random, 0, 40);
    a.ignore_label = 255;
    a.small_instance_area = chance(random, 0.1) ? INT64_MIN : whole(random, 0, 100);
    a.small_instance_weight = 3.0f;
    a.ignore_stuff_in_offset = chance(random, 0.5);
    a.ignore_crowd_in_semantic = chance(random, 0.5);
    a.crowd_as_instance = chance(random, 0.5);
    const int64_t spread = chance(random, 0.3) ? INT32_MAX : a.count + 2;
    std::vector<pdl_segment> segments(a.count);
    for (pdl_segment &segment : segments)  // here and there an id twice, which must do no harm
        segment = {whole(random, -spread, spread), whole(random, 0, 18), chance(random, 0.6), chance(random, 0.2)};
    const std::vector<float> gaussian((2 * a.reach + 1) * (2 * a.reach + 1), 0.5f);
    const int64_t run = whole(random, 0, 40);
    std::vector<int64_t> wide(a.height * a.width);
    for (size_t i = 0; i < wide.size(); i++) {
        const bool listed = a.count > 0 && chance(random, 0.8);
        wide[i] = i > 0 && whole(random, 0, run) ? wide[i - 1]
                  : listed                       ? segments[whole(random, 0, a.count - 1)].id
                                                 : whole(random, -spread, spread);
    }
    const std::vector<int32_t> narrow(wide.begin(), wide.end());
    a.segments = segments.data();
    a.gaussian = gaussian.data();

    Targets one(a), several(a);
    a.panoptic = wide.data();
    a.id_bytes = 8;
    a.threads = 1;
    const pdl_targets_results of_one = one.pointers(), of_several = several.pointers();
    if (pdl_panoptic_targets_cpu(&a, &of_one) != PDL_OK) fail(seed, "refused good arguments");
    a.panoptic = narrow.data();
    a.id_bytes = 4;
    a.threads = static_cast<int32_t>(whole(random, 2, 9));
    if (pdl_panoptic_targets_cpu(&a, &of_several) != PDL_OK) fail(seed, "refused good arguments");
    if (!one.equals(several)) fail(seed, "threads or the width of ids change the targets");
    one.add_to_digest();
    for (const float value : one.center)
        if (value != 0.0f && value != 0.5f) fail(seed, "a heatmap value that was never drawn");
    a.id_bytes = 2;
    if (pdl_panoptic_targets_cpu(&a, &of_one) != PDL_INVALID_ARGUMENT) fail(seed, "took bad arguments");
}

void draw_once(uint64_t seed) {
    Random random(seed);
    pdl_overlay_arguments a{};
    const bool large = chance(random, 0.05);
    a.height = large ? whole(random, 200, 700) : whole(random, 0, 60);
    a.width = large ? whole(random, 200, 700) : whole(random, 0, 90);
    a.count = whole(random, 0, 30);
    a.opacity = static_cast<int32_t>(chance(random, 0.2) ? 256 : whole(random, 0, 256));
    a.thickness = static_cast<int32_t>(chance(random, 0.1) ? PDL_MAX_THICKNESS : whole(random, 0, 5));
    a.brightness = static_cast<int32_t>(whole(random, 0, 255));
    const size_t pixels = static_cast<size_t>(a.height * a.width);
    std::vector<uint8_t> image(pixels * 3), colors(static_cast<size_t>(a.count) * 4), one(pixels * 3, 1), several = one;
    for (uint8_t &value : image) value = static_cast<uint8_t>(whole(random, 0, 255));
    for (uint8_t &value : colors) value = static_cast<uint8_t>(whole(random, 0, 255));
    std::vector<int32_t> panoptic(pixels);
    const int64_t run = whole(random, 0, 40), spread = chance(random, 0.2) ? INT32_MAX : a.count + 2;
    for (size_t i = 0; i < pixels; i++)
        panoptic[i] = i > 0 && whole(random, 0, run) ? panoptic[i - 1]
                                                     : static_cast<int32_t>(whole(random, -spread, spread));
    a.image = image.data();
    a.panoptic = panoptic.data();
    a.colors = colors.data();
    a.threads = 1;
    if (pdl_panoptic_overlay_cpu(&a, one.data()) != PDL_OK) fail(seed, "refused good arguments");
    a.threads = static_cast<int32_t>(whole(random, 2, 9));
    if (pdl_panoptic_overlay_cpu(&a, several.data()) != PDL_OK) fail(seed, "refused good arguments");
    if (one != several) fail(seed, "threads change the picture");
    digest_all(one);
    a.thickness = chance(random, 0.5) ? -1 : PDL_MAX_THICKNESS + 1;
    if (pdl_panoptic_overlay_cpu(&a, one.data()) != PDL_INVALID_ARGUMENT) fail(seed, "took bad arguments");
}

// Threads change nothing, counts add up to the pixels looked at, and new ids put back give the map that was there.
void track_once(uint64_t seed) {
    Random random(seed);
    pdl_overlap_arguments a{};
    const bool large = chance(random, 0.05);
    a.height = large ? whole(random, 200, 700) : whole(random, 0, 60);
    a.width = large ? whole(random, 200, 700) : whole(random, 0, 90);
    a.row_stride = a.width + whole(random, 0, 5);
    a.step = whole(random, 1, chance(random, 0.1) ? 100 : 5);
    const int64_t spread = chance(random, 0.2) ? INT32_MAX : 40, run = whole(random, 0, 40);
    std::vector<int32_t> ids, panoptic(static_cast<size_t>(a.height * a.row_stride));
    const int64_t wanted = whole(random, 0, 30);
    while (static_cast<int64_t>(ids.size()) < wanted) {
        const auto id = static_cast<int32_t>(whole(random, -spread, spread));
        if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
    }
    a.count = wanted;
    a.last_count = whole(random, 0, 30);
    for (size_t i = 0; i < panoptic.size(); i++) {
        const bool listed = wanted > 0 && chance(random, 0.7);
        panoptic[i] = i > 0 && whole(random, 0, run) ? panoptic[i - 1]
                      : listed                       ? ids[whole(random, 0, wanted - 1)]
                                                     : static_cast<int32_t>(whole(random, -spread, spread));
    }
    int64_t looked_at = 1;
    for (const int64_t size : {a.height, a.width}) {
        int64_t samples = 0;
        for (int64_t i = a.step / 2; i < size; i += a.step) samples++;
        looked_at *= samples;
    }
    std::vector<int32_t> last(static_cast<size_t>(looked_at)), places[2];
    for (int32_t &place : last) place = static_cast<int32_t>(whole(random, -1, a.last_count + 1));
    a.panoptic = panoptic.data();
    a.ids = ids.data();
    a.last = last.data();
    std::vector<int64_t> counts[2];
    for (int several = 0; several < 2; several++) {
        a.threads = several ? static_cast<int32_t>(whole(random, 2, 9)) : 1;
        places[several].assign(last.size(), -1);
        counts[several].assign(static_cast<size_t>((a.count + 1) * (a.last_count + 1)), -1);
        if (pdl_thing_overlaps_cpu(&a, places[several].data(), counts[several].data()) != PDL_OK)
            fail(seed, "refused good arguments");
    }
    if (places[0] != places[1] || counts[0] != counts[1]) fail(seed, "threads change the overlaps");
    digest_all(places[0], counts[0]);
    int64_t sum = 0;
    for (const int64_t count : counts[0]) sum += count;
    if (sum != looked_at) fail(seed, "overlaps do not add up");

    const std::vector<int32_t> new_ids(ids.rbegin(), ids.rend()), before = panoptic;
    for (int back = 0; back < 2; back++)
        if (pdl_renumber_cpu(panoptic.data(), a.height, a.width, a.row_stride, back ? new_ids.data() : ids.data(),
                             back ? ids.data() : new_ids.data(), a.count, a.threads) != PDL_OK)
            fail(seed, "refused good arguments");
    if (panoptic != before) fail(seed, "ids that were put back are others");
    a.step = 0;
    if (pdl_thing_overlaps_cpu(&a, places[0].data(), counts[0].data()) != PDL_INVALID_ARGUMENT)
        fail(seed, "took bad arguments");
}

uint8_t paeth(int left, int up, int corner) {
    const int from_left = std::abs(up - corner), from_up = std::abs(left - corner);
    const int from_corner = std::abs(left + up - 2 * corner);
    if (from_left <= from_up && from_left <= from_corner) return static_cast<uint8_t>(left);
    return static_cast<uint8_t>(from_up <= from_corner ? up : corner);
}

void unfilter_once(uint64_t seed) {
    Random random(seed);
    const int64_t height = whole(random, 0, 12), width = whole(random, 0, 80), pixel_bytes = whole(random, 2, 3);
    const int64_t count = width * pixel_bytes;
    const double zeros = chance(random, 0.5) ? 0.0 : 0.97;
    std::vector<uint8_t> rows(height * (count + 1)), pixels(height * count);
    for (uint8_t &byte : rows) byte = chance(random, zeros) ? 0 : static_cast<uint8_t>(whole(random, 0, 255));
    for (int64_t y = 0; y < height; y++) {
        const uint8_t *in = rows.data() + y * (count + 1) + 1;
        const auto filter = static_cast<uint8_t>(whole(random, 0, 4));
        rows[y * (count + 1)] = filter;
        for (int64_t i = 0; i < count; i++) {
            const uint8_t *above = y > 0 ? pixels.data() + (y - 1) * count : nullptr;
            const int left = i < pixel_bytes ? 0 : pixels[y * count + i - pixel_bytes], up = above ? above[i] : 0;
            const int corner = above && i >= pixel_bytes ? above[i - pixel_bytes] : 0;
            const int guesses[] = {0, left, up, (left + up) / 2, paeth(left, up, corner)};
            pixels[y * count + i] = static_cast<uint8_t>(in[i] + guesses[filter]);
        }
    }
    std::vector<uint8_t> strange = rows;
    if (pdl_png_unfilter_cpu(rows.data(), height, width, static_cast<int32_t>(pixel_bytes)) != PDL_OK)
        fail(seed, "refused to unfilter");
    rows.resize(pixels.size());
    if (rows != pixels) fail(seed, "pixels are not those of the specification");
    digest_all(rows);
    if (height == 0) return;
    strange[whole(random, 0, height - 1) * (count + 1)] = static_cast<uint8_t>(whole(random, 5, 255));
    if (pdl_png_unfilter_cpu(strange.data(), height, width, static_cast<int32_t>(pixel_bytes)) != PDL_INVALID_ARGUMENT)
        fail(seed, "took an unknown filter");
}

}  // namespace

// fuzz_abi SECONDS [FIRST_SEED], or fuzz_abi digests SEEDS [FIRST_SEED], which prints one for each seed
int main(int argc, char **argv) {
    const bool digests = argc > 2 && std::strcmp(argv[1], "digests") == 0;
    if (digests) argv++, argc--;
    const double limit = argc > 1 ? std::atof(argv[1]) : 10.0;
    const uint64_t first = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
    const auto start = std::chrono::steady_clock::now();
    uint64_t seed = first;
    const auto done = [&]() {
        const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
        return (digests ? static_cast<double>(seed - first) : passed.count()) >= limit;
    };
    while (!done()) {
        digest = kNoDigest;
        segment_once(seed);
        refuse_once(seed);
        count_once(seed);
        make_targets_once(seed);
        draw_once(seed);
        track_once(seed);
        unfilter_once(seed);
        if (digests)
            std::printf("%llu %016llx\n", static_cast<unsigned long long>(seed),
                        static_cast<unsigned long long>(digest));
        seed++;
    }
    std::printf("%llu seeds, nothing to report\n", static_cast<unsigned long long>(seed - first));
    return 0;
}
