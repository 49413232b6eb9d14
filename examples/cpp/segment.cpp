/* From an image to a panoptic map, without Python: the network on OpenVINO, the post-processing by the core in ext/.
 *
 *   ov=$(python -c 'import importlib.util as u; print(u.find_spec("openvino").submodule_search_locations[0])')
 *   g++ -std=c++17 -O3 -ffp-contract=off -pthread -Iext -isystem $ov/include examples/cpp/segment.cpp \
 *       ext/[a-z]*_cpu.cpp $ov/libs/libopenvino.so.* -Wl,-rpath,$ov/libs -lpng -o segment
 *   panodeeplab export street-tiny model.xml
 *   ./segment model.xml street.png out [THREADS]
 *
 * Needs libpng's headers (Debian: libpng-dev) and OpenVINO, whose wheel brings headers and libraries; an installation
 * without Python, as `ov`, does as well. MODEL is a network that `panodeeplab export` wrote, .xml or .onnx, which says
 * what its classes are and how its maps are to be read. The image is segmented at its own size. It writes
 *
 *   out.png          COCO's panoptic format: R + 256 G + 65536 B is the id, 0 is void
 *   out.json         the segments, with these ids
 *   out_overlay.png  the colors of the classes over the image, things outlined */
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include <openvino/openvino.hpp>

#include "json.h"
#include "panoptic_map.h"
#include "png_file.h"

namespace {

std::shared_ptr<ov::Model> read_model(ov::Core &core, const std::string &path) {
    try {
        return core.read_model(path);
    } catch (const ov::Exception &) {
        throw std::runtime_error(path + " is no network that OpenVINO can read");
    }
}

/* The description that every exported network carries: OpenVINO's files in their own, ONNX in the framework's part. */
Json description(const ov::Model &model) {
    const std::vector<std::vector<std::string>> places = {{"panodeeplab"}, {"framework", "panodeeplab"}};
    for (const auto &where : places) {
        if (model.has_rt_info(where)) {
            const Json json = JsonReader::read(model.get_rt_info<std::string>(where));
            if (json["outputs"].get<std::string>() != "maps") {
                throw std::runtime_error("the model has its post-processing inside: export it without");
            }
            return json;
        }
    }
    throw std::runtime_error("the model was not exported by panodeeplab");
}

std::vector<uint8_t> thing_flags(const Json &classes) {
    std::vector<uint8_t> is_thing(classes["names"].get<Json::Array>().size());
    for (const Json &id : classes["thing_ids"].get<Json::Array>()) {
        is_thing.at(id.number<size_t>()) = 1;
    }
    return is_thing;
}

/* The settings that the network was trained with. */
void read_settings(const Json &json, pdl_panoptic_arguments &arguments) {
    const Json &settings = json["postprocess"];
    const std::string source = settings["center_source"].get<std::string>();
    arguments.align_corners = json["align_corners"].get<bool>();
    arguments.center_threshold = settings["center_threshold"].number<float>();
    arguments.nms_kernel = settings["nms_kernel"].number<int64_t>();
    arguments.top_k = settings["top_k"].number<int64_t>();
    arguments.stuff_area = settings["stuff_area"].number<int64_t>();
    arguments.label_divisor = settings["label_divisor"].number<int64_t>();
    arguments.center_source = source == "heatmap" ? PDL_CENTERS_HEATMAP
                              : source == "votes" ? PDL_CENTERS_VOTES
                                                  : PDL_CENTERS_BOTH;
    arguments.vote_threshold = settings["vote_threshold"].number<int32_t>();
    arguments.class_aware_votes = settings["class_aware_votes"].get<bool>();
}

/* Of a segment, 0 to 1; the same rule as panodeeplab.postprocess.PanopticSegment.score. */
double score(const Segment &segment, bool is_thing, const std::string &rule) {
    const double probability = std::min(segment.probability, 1.0);
    if (!is_thing || rule == "semantic") {
        return probability;
    }
    const double support = std::min(static_cast<double>(segment.center_votes) / segment.area, 1.0);
    const double height = std::min(std::max(segment.center_score, support), 1.0);
    return rule == "center" ? height : probability * height;
}

/* A file's ids are larger by label_divisor: 0 is void there, and the first stuff class would be 0 otherwise. */
void write_ids(const std::string &path, const PanopticMap &map, int64_t label_divisor) {
    Picture picture{map.height, map.width, {}};
    picture.pixels.reserve(3 * map.ids.size());
    for (const int32_t id : map.ids) {
        const int64_t written = id < 0 ? 0 : id + label_divisor;
        for (int shift = 0; shift < 24; shift += 8) {
            picture.pixels.push_back(static_cast<uint8_t>(written >> shift));
        }
    }
    write_png(path, picture);
}

void write_segments(const std::string &path, const PanopticMap &map, const Json &json,
                    const std::vector<uint8_t> &is_thing, int64_t label_divisor) {
    const std::string rule = json["postprocess"]["instance_score"].get<std::string>();
    const auto &names = json["classes"]["names"].get<Json::Array>();
    const auto &label_ids = json["classes"]["label_ids"].get<Json::Array>();
    std::ofstream file(path);
    file << std::setprecision(17) << "{\"segments_info\": [";
    const char *separator = "\n";
    for (const Segment &segment : map.segments) {
        const auto category = static_cast<size_t>(segment.id / label_divisor);
        const auto &[y0, x0, y1, x1] = segment.box;
        file << separator << "{\"id\": " << segment.id + label_divisor
             << ", \"category_id\": " << label_ids.at(category).number<int64_t>() << ", \"category\": \""
             << names.at(category).get<std::string>() << "\", \"isthing\": " << int{is_thing.at(category)}
             << ", \"score\": " << score(segment, is_thing[category], rule) << ", \"area\": " << segment.area
             << ", \"bbox\": [" << x0 << ", " << y0 << ", " << x1 - x0 << ", " << y1 - y0 << "]}";
        separator = ",\n";
    }
    file << "\n]}\n";
    if (!file.flush()) {
        throw std::runtime_error("cannot write " + path);
    }
}

void write_overlay(const std::string &path, const Picture &image, const PanopticMap &map, const Json &json,
                   const std::vector<uint8_t> &is_thing, const pdl_panoptic_arguments &arguments) {
    const auto &colors = json["classes"]["colors"].get<Json::Array>();
    const int32_t largest = map.segments.empty() ? 0 : map.segments.back().id; /* they ascend */
    std::vector<uint8_t> palette(4 * (static_cast<size_t>(largest) + 1));
    for (const Segment &segment : map.segments) {
        const auto category = static_cast<size_t>(segment.id / arguments.label_divisor);
        uint8_t *color = &palette[4 * static_cast<size_t>(segment.id)];
        for (size_t channel = 0; channel < 3; ++channel) {
            color[channel] = colors.at(category).get<Json::Array>().at(channel).number<uint8_t>();
        }
        color[3] = is_thing.at(category);
    }
    pdl_overlay_arguments overlay = {};
    overlay.image = image.pixels.data();
    overlay.panoptic = map.ids.data();
    overlay.height = map.height;
    overlay.width = map.width;
    overlay.colors = palette.data();
    overlay.count = static_cast<int64_t>(palette.size() / 4);
    overlay.opacity = 128;
    overlay.thickness = 1;
    overlay.brightness = 160;
    overlay.threads = arguments.threads;
    Picture picture{map.height, map.width, std::vector<uint8_t>(image.pixels.size())};
    if (pdl_panoptic_overlay_cpu(&overlay, picture.pixels.data()) != PDL_OK) {
        throw std::runtime_error("cannot draw the overlay");
    }
    write_png(path, picture);
}

void run(const std::string &model_path, const std::string &image_path, const std::string &output, int threads) {
    Picture image = read_png(image_path);
    ov::Core core;
    const std::shared_ptr<ov::Model> model = read_model(core, model_path);
    const Json json = description(*model);
    const std::vector<uint8_t> is_thing = thing_flags(json["classes"]);

    ov::AnyMap settings = {ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
                           ov::hint::inference_precision(ov::element::f32)};
    if (threads > 0) {
        settings.insert(ov::inference_num_threads(threads));
    }
    ov::InferRequest request = core.compile_model(model, "CPU", settings).create_infer_request();
    const ov::Shape shape = {1, static_cast<size_t>(image.height), static_cast<size_t>(image.width), 3};
    /* OpenVINO reads the pixels and the core reads the maps where they are. */
    request.set_input_tensor(ov::Tensor(ov::element::u8, shape, image.pixels.data()));
    request.infer();
    const ov::Tensor semantic = request.get_tensor("semantic");
    const ov::Shape grid = semantic.get_shape();

    pdl_panoptic_arguments arguments = panoptic_arguments(
        semantic.data<const float>(), request.get_tensor("center").data<const float>(),
        request.get_tensor("offset").data<const float>(), static_cast<int64_t>(grid[1]), static_cast<int64_t>(grid[2]),
        static_cast<int64_t>(grid[3]));
    read_settings(json, arguments);
    arguments.is_thing = is_thing.data();
    arguments.height = image.height;
    arguments.width = image.width;
    arguments.threads = threads > 0 ? threads : arguments.threads;
    const PanopticMap map = segment(arguments);

    write_ids(output + ".png", map, arguments.label_divisor);
    write_segments(output + ".json", map, json, is_thing, arguments.label_divisor);
    write_overlay(output + "_overlay.png", image, map, json, is_thing, arguments);
    std::cout << output << ".png: " << map.segments.size() << " segments\n";
}

} // namespace

int main(int argc, char **argv) {
    const int threads = argc == 5 ? std::atoi(argv[4]) : 0;
    if (argc < 4 || argc > 5 || (argc == 5 && threads < 1)) {
        std::cerr << "usage: segment MODEL IMAGE.png OUTPUT [THREADS]\n";
        return 2;
    }
    try {
        run(argv[1], argv[2], argv[3], threads);
    } catch (const std::exception &error) {
        std::cerr << "segment: " << error.what() << '\n';
        return 1;
    }
    return 0;
}
