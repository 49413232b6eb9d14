/* PNG files as 8 bits of red, green and blue, by libpng. */
#ifndef PANODEEPLAB_EXAMPLES_PNG_FILE_H
#define PANODEEPLAB_EXAMPLES_PNG_FILE_H

#include <cstdint>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <png.h>

struct Picture {
    int64_t height, width;
    std::vector<uint8_t> pixels; /* (height, width, 3) */
};

/* libpng leaves a damaged file by longjmp: nothing that it would jump over may have a destructor to run, so that all
 * memory is the caller's. Returns false for what is no whole PNG. */
inline bool decode_png(std::FILE *file, png_structp png, png_infop info, Picture &picture,
                       std::vector<png_bytep> &rows) {
    if (setjmp(png_jmpbuf(png))) {
        return false;
    }
    png_init_io(png, file);
    png_read_info(png, info);
    /* Palettes and grays become colors, 16 bits the upper 8, and transparency is dropped, as Predictor has it. */
    png_set_expand(png);
    png_set_strip_16(png);
    png_set_gray_to_rgb(png);
    png_set_strip_alpha(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    picture.height = png_get_image_height(png, info);
    picture.width = png_get_image_width(png, info);
    const size_t stride = 3 * static_cast<size_t>(picture.width);
    if (png_get_rowbytes(png, info) != stride) {
        return false;
    }
    picture.pixels.resize(stride * static_cast<size_t>(picture.height));
    rows.resize(static_cast<size_t>(picture.height));
    for (size_t y = 0; y < rows.size(); ++y) {
        rows[y] = &picture.pixels[y * stride];
    }
    png_read_image(png, rows.data());
    png_read_end(png, nullptr);
    return true;
}

inline Picture read_png(const std::string &path) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE *)> file(std::fopen(path.c_str(), "rb"), std::fclose);
    if (!file) {
        throw std::runtime_error("cannot open " + path);
    }
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
    png_infop info = png == nullptr ? nullptr : png_create_info_struct(png);
    Picture picture{};
    std::vector<png_bytep> rows;
    const bool whole = info != nullptr && decode_png(file.get(), png, info, picture, rows);
    png_destroy_read_struct(&png, &info, nullptr);
    if (!whole) {
        throw std::runtime_error(path + " is not a whole PNG file");
    }
    return picture;
}

inline void write_png(const std::string &path, const Picture &picture) {
    png_image file = {};
    file.version = PNG_IMAGE_VERSION;
    file.format = PNG_FORMAT_RGB;
    file.height = static_cast<png_uint_32>(picture.height);
    file.width = static_cast<png_uint_32>(picture.width);
    if (!png_image_write_to_file(&file, path.c_str(), 0, picture.pixels.data(), 0, nullptr)) {
        throw std::runtime_error("cannot write " + path + ": " + file.message);
    }
}

#endif
