// The C interface of the CUDA kernels without a GPU: addresses are the host's. tests/ops/test_emulated_cuda.py compares
// it with the reference. As a program it runs the kernels on random and hostile inputs, built with sanitizers by
// .ci/sanitize, and checks that neither the order of blocks and threads nor real threads change a bit.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "emulation.h"

namespace {

using namespace pdl::gpu;

using Random = std::mt19937_64;

constexpr int32_t kThreads = 3;  // beside the orders

int emulate(const pdl_cuda_arguments &arguments, const pdl_cuda_results &results, int32_t order, uint32_t seed) {
    Plan plan;
    if (!plan_all(arguments, results, plan)) return PDL_CUDA_INVALID_ARGUMENT;
    if (order == kThreads) {
        ThreadLaunch launch;
        launch_all(plan, arguments, launch);
    } else {
        LoopLaunch launch(static_cast<Order>(order), seed);
        launch_all(plan, arguments, launch);
    }
    return PDL_CUDA_OK;
}

int64_t whole(Random &random, int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(random);
}

bool chance(Random &random, double probability) { return std::bernoulli_distribution(probability)(random); }

// As large as the kernels may read, so that one more element is an error.
template <class T> struct Values {
    std::unique_ptr<T[]> memory;
    size_t count;

    explicit Values(int64_t size) : memory(new T[static_cast<size_t>(size)]), count(static_cast<size_t>(size)) {
        memset(static_cast<void *>(memory.get()), kGarbage, count * sizeof(T));
    }
    bool operator==(const Values &other) const {
        return memcmp(memory.get(), other.memory.get(), count * sizeof(T)) == 0;
    }
};

Values<float> random_map(Random &random, int64_t size, int64_t width) {
    static const float hostile[] = {NAN, INFINITY, -INFINITY, 3e38f, -3.4e38f, 1e30f, -1e30f, 1e-42f, 0.0f};
    static const float scales[] = {1e-30f, 1.0f, 1.0f, 8.0f, 1e4f, 1e9f};
    Values<float> map(size);
    float *values = map.memory.get();
    const float scale = scales[whole(random, 0, 5)];
    const int64_t smooth = whole(random, 1, 6);
    const bool quantised = chance(random, 0.4), held = chance(random, 0.7);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < size; i++) {
        values[i] = normal(random);
        if (held && i >= width && i % smooth != 0) values[i] = values[chance(random, 0.5) ? i - 1 : i - width];
        if (quantised) values[i] = std::round(values[i] * 2) / 2;
    }
    for (int64_t i = 0; i < size; i++) values[i] *= scale;
    if (chance(random, 0.4))
        for (int64_t n = whole(random, 1, 8); n > 0; n--) values[whole(random, 0, size - 1)] = hostile[whole(random, 0, 8)];
    return map;
}

struct Outputs {
    Values<int32_t> panoptic, centers, votes, num_centers, ids, areas, boxes, segment_centers, num_segments;
    Values<float> scores, probabilities;

    explicit Outputs(const pdl_cuda_arguments &a)
        : panoptic(a.batch * a.height * a.width),
          centers(a.batch * a.top_k * 2),
          votes(a.batch * a.top_k),
          num_centers(a.batch),
          ids(a.batch * (a.top_k + a.classes)),
          areas(a.batch * (a.top_k + a.classes)),
          boxes(a.batch * (a.top_k + a.classes) * 4),
          segment_centers(a.batch * (a.top_k + a.classes)),
          num_segments(a.batch),
          scores(a.batch * a.top_k),
          probabilities(a.batch * (a.top_k + a.classes)) {}

    pdl_cuda_results addresses() {
        return {panoptic.memory.get(), centers.memory.get(), scores.memory.get(), votes.memory.get(),
                num_centers.memory.get(), ids.memory.get(), areas.memory.get(), boxes.memory.get(),
                segment_centers.memory.get(), probabilities.memory.get(), num_segments.memory.get()};
    }

    bool operator==(const Outputs &o) const {
        return panoptic == o.panoptic && centers == o.centers && votes == o.votes && num_centers == o.num_centers &&
               ids == o.ids && areas == o.areas && boxes == o.boxes && segment_centers == o.segment_centers &&
               num_segments == o.num_segments && scores == o.scores && probabilities == o.probabilities;
    }
};

struct Input {
    pdl_cuda_arguments arguments{};
    Values<float> semantic{0}, center{0}, offset{0};
    Values<uint8_t> is_thing{0};

    Input(Random &random, bool small) {
        pdl_cuda_arguments &a = arguments;
        a.batch = whole(random, 1, 2);
        a.classes = chance(random, 0.1) ? whole(random, 1, 300) : whole(random, 1, 20);
        a.low_height = chance(random, 0.2) ? 1 : whole(random, 1, small ? 12 : 40);
        a.low_width = chance(random, 0.2) ? 1 : whole(random, 1, small ? 20 : 60);
        a.stride = chance(random, 0.1) ? whole(random, 1, 40) : whole(random, 1, small ? 4 : 8);
        a.align_corners = chance(random, 0.4) ? 1 : 0;
        const int64_t height = a.align_corners != 0 ? (a.low_height - 1) * a.stride + 1 : a.low_height * a.stride;
        const int64_t width = a.align_corners != 0 ? (a.low_width - 1) * a.stride + 1 : a.low_width * a.stride;
        a.height = chance(random, 0.5) ? height : whole(random, 1, height);
        a.width = chance(random, 0.5) ? width : whole(random, 1, width);
        a.top_k = chance(random, 0.5) ? 200 : (chance(random, 0.5) ? whole(random, 1, 300) : 5000);
        a.nms_kernel = chance(random, 0.02) ? 255 : 2 * whole(random, 0, 6) + 1;
        a.stuff_area = chance(random, 0.5) ? 0 : whole(random, 0, 500);
        a.label_divisor = 10000;
        a.void_label = chance(random, 0.5) ? -1 : 0;
        a.center_threshold = chance(random, 0.5) ? 0.1f : std::normal_distribution<float>()(random);
        a.semantic_probability = chance(random, 0.3) ? 1 : 0;
        a.dtype = PDL_CUDA_FLOAT32;
        a.center_source = static_cast<int32_t>(whole(random, PDL_CUDA_CENTERS_HEATMAP, PDL_CUDA_CENTERS_BOTH));
        a.vote_threshold = static_cast<int32_t>(chance(random, 0.1) ? INT32_MAX : whole(random, 0, 200));
        a.class_aware_votes = chance(random, 0.5) ? 1 : 0;
        const int64_t plane = a.low_height * a.low_width;
        semantic = random_map(random, a.batch * a.classes * plane, a.low_width);
        center = random_map(random, a.batch * plane, a.low_width);
        offset = random_map(random, a.batch * 2 * plane, a.low_width);
        is_thing = Values<uint8_t>(a.classes);
        for (int64_t c = 0; c < a.classes; c++) is_thing.memory[static_cast<size_t>(c)] = chance(random, 0.5) ? 1 : 0;
        const bool last = chance(random, 0.3);  // channels-last: the same numbers mean another picture
        a.semantic = {semantic.memory.get(), a.classes * plane, last ? 1 : plane, last ? a.classes : 1};
        a.center = {center.memory.get(), plane, plane, 1};
        a.offset = {offset.memory.get(), 2 * plane, last ? 1 : plane, last ? 2 : 1};
        a.is_thing = is_thing.memory.get();
    }
};

[[noreturn]] void fail(uint64_t seed, const char *what) {
    std::fprintf(stderr, "seed %llu: %s\n", static_cast<unsigned long long>(seed), what);
    std::exit(1);
}

void run_once(uint64_t seed, bool threads) {
    Random random(seed);
    Input input(random, threads);
    pdl_cuda_arguments &a = input.arguments;
    Plan plan;
    if (!plan_sizes(a, plan)) fail(seed, "refused good arguments");
    Values<uint64_t> scratch(plan.scratch.size * a.batch / 8);
    const auto run = [&](Outputs &out, int32_t order) {
        memset(static_cast<void *>(scratch.memory.get()), kGarbage, scratch.count * 8);
        a.scratch = scratch.memory.get();
        if (emulate(a, out.addresses(), order, static_cast<uint32_t>(seed)) != PDL_CUDA_OK) fail(seed, "refused");
    };
    Outputs forward(a), other(a);
    run(forward, 0);
    run(other, threads ? kThreads : 1 + static_cast<int32_t>(seed % 2));
    if (!(forward == other)) fail(seed, threads ? "real threads change the result" : "the order changes the result");
}

}  // namespace

extern "C" int64_t pdl_cuda_scratch_bytes(const pdl_cuda_arguments *arguments) {
    Plan plan;
    return plan_sizes(*arguments, plan) ? plan.scratch.size * arguments->batch : -1;
}

extern "C" int pdl_panoptic_segmentation_emulated(const pdl_cuda_arguments *arguments, const pdl_cuda_results *results,
                                                  int32_t order, uint32_t seed) {
    return emulate(*arguments, *results, order, seed);
}

// emulate_cuda SECONDS [FIRST_SEED] [threads]
int main(int argc, char **argv) {
    const double seconds = argc > 1 ? std::atof(argv[1]) : 10.0;
    const uint64_t first = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
    const bool threads = argc > 3 && std::strcmp(argv[3], "threads") == 0;
    const auto start = std::chrono::steady_clock::now();
    uint64_t seed = first;
    while (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < seconds)
        run_once(seed++, threads);
    std::printf("%llu seeds, nothing to report\n", static_cast<unsigned long long>(seed - first));
    return 0;
}
