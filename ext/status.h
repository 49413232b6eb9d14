// What the C interface returns for what the code behind it throws.
#ifndef PANODEEPLAB_STATUS_H
#define PANODEEPLAB_STATUS_H

#include <new>
#include <stdexcept>

#include "panoptic.h"

namespace pdl {

template <typename Work>
int status_of(const Work &work) {
    try {
        work();
    } catch (const std::bad_alloc &) {
        return PDL_OUT_OF_MEMORY;
    } catch (const std::length_error &) {  // a vector longer than memory could be
        return PDL_OUT_OF_MEMORY;
    }
    return PDL_OK;
}

}  // namespace pdl

#endif
