/* From the maps of a network to a panoptic map, whatever runs the network: links the core in ext/ and nothing else.
 *
 *   g++ -std=c++17 -O3 -ffp-contract=off -pthread -Iext examples/cpp/segment_maps.cpp \
 *       ext/[a-z]*_cpu.cpp -o segment_maps
 *   ./segment_maps semantic.npy center.npy offset.npy HEIGHT WIDTH THING_IDS panoptic.npy panoptic.ppm
 *
 * The maps are NumPy files of float32, (1,C,h,w), (1,1,h,w) and (1,2,h,w), as an exported network gives them for an
 * image of HEIGHT x WIDTH; THING_IDS are the countable classes, as in 11,12,13. It writes ids as int32 (HEIGHT,WIDTH),
 * a picture of them, and prints id, area and probability of the segments. */
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "panoptic_map.h"

namespace {

struct Maps {
    std::array<int64_t, 4> shape;
    std::vector<float> values;
};

/* NumPy's format, version 1: a magic word, the length of a header, the header as a Python dictionary, the values. */
Maps read_npy(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    char start[10];
    if (!file.read(start, sizeof start) || std::string(start, 6) != "\x93NUMPY" || start[6] != 1) {
        throw std::runtime_error(path + " is not a NumPy file of version 1");
    }
    std::string header(static_cast<unsigned char>(start[8]) + 256 * static_cast<unsigned char>(start[9]), ' ');
    file.read(header.data(), static_cast<std::streamsize>(header.size()));
    const size_t open = header.find("'shape': (");
    if (header.find("'<f4'") == std::string::npos || header.find("'fortran_order': False") == std::string::npos ||
        open == std::string::npos) {
        throw std::runtime_error(path + " holds no float32 in C order");
    }
    Maps maps;
    std::istringstream dimensions(header.substr(open + 10));
    int64_t count = 1;
    for (int64_t &dimension : maps.shape) {
        char comma;
        if (!(dimensions >> dimension >> comma) || dimension < 1) {
            throw std::runtime_error(path + " does not have four dimensions");
        }
        count *= dimension;
    }
    maps.values.resize(static_cast<size_t>(count));
    if (!file.read(reinterpret_cast<char *>(maps.values.data()), count * static_cast<int64_t>(sizeof(float)))) {
        throw std::runtime_error(path + " breaks off");
    }
    return maps;
}

void write_npy(const std::string &path, const std::vector<int32_t> &ids, int64_t height, int64_t width) {
    std::string header = "{'descr': '<i4', 'fortran_order': False, 'shape': (" + std::to_string(height) + ", " +
                         std::to_string(width) + "), }";
    header.resize(118 - 1, ' ');
    header += '\n';
    std::ofstream file(path, std::ios::binary);
    file << "\x93NUMPY" << '\1' << '\0' << static_cast<char>(header.size()) << '\0' << header;
    file.write(reinterpret_cast<const char *>(ids.data()), static_cast<std::streamsize>(4 * ids.size()));
    if (!file) {
        throw std::runtime_error("cannot write " + path);
    }
}

/* Every segment in a color of its own; void is black. */
void write_ppm(const std::string &path, const std::vector<int32_t> &ids, int64_t height, int64_t width) {
    std::ofstream file(path, std::ios::binary);
    file << "P6\n" << width << ' ' << height << "\n255\n";
    for (int32_t id : ids) {
        const uint32_t mixed = id < 0 ? 0 : (static_cast<uint32_t>(id) + 1) * 2654435761u;
        file.put(static_cast<char>(mixed >> 24)).put(static_cast<char>(mixed >> 16)).put(static_cast<char>(mixed >> 8));
    }
    if (!file) {
        throw std::runtime_error("cannot write " + path);
    }
}

void run(char **argv) {
    const Maps semantic = read_npy(argv[1]), center = read_npy(argv[2]), offset = read_npy(argv[3]);
    const auto [batch, classes, rows, columns] = semantic.shape;
    if (batch != 1 || center.shape != std::array<int64_t, 4>{1, 1, rows, columns} ||
        offset.shape != std::array<int64_t, 4>{1, 2, rows, columns}) {
        throw std::runtime_error("the shapes must be (1,C,h,w), (1,1,h,w) and (1,2,h,w)");
    }
    const int64_t height = std::stoll(argv[4]), width = std::stoll(argv[5]);
    std::vector<uint8_t> is_thing(static_cast<size_t>(classes));
    std::istringstream things(argv[6]);
    for (std::string id; std::getline(things, id, ',');) {
        is_thing.at(std::stoul(id)) = 1;
    }

    pdl_panoptic_arguments arguments =
        panoptic_arguments(semantic.values.data(), center.values.data(), offset.values.data(), classes, rows, columns);
    arguments.height = height;
    arguments.width = width;
    arguments.is_thing = is_thing.data();
    const PanopticMap map = segment(arguments);
    write_npy(argv[7], map.ids, height, width);
    write_ppm(argv[8], map.ids, height, width);
    for (const Segment &found : map.segments) {
        std::printf("%d %d %.4f\n", found.id, found.area, found.probability);
    }
}

} // namespace

int main(int argc, char **argv) {
    if (argc != 9) {
        std::cerr << "usage: segment_maps semantic.npy center.npy offset.npy HEIGHT WIDTH THING_IDS "
                     "panoptic.npy panoptic.ppm\n";
        return 2;
    }
    try {
        run(argv);
    } catch (const std::exception &error) {
        std::cerr << "segment_maps: " << error.what() << '\n';
        return 1;
    }
    return 0;
}
