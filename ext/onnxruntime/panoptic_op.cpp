/* The post-processing as an operator of ONNX Runtime, panodeeplab::PanopticSegmentation.
 *
 * Inputs: semantic (N,C,h,w), center (N,1,h,w), offset (N,2,h,w), float32; is_thing (C,) uint8; size (2,) int64, the
 * height and width of the output. Outputs: those of pdl_panoptic_results, in its order. Attributes: the settings of
 * pdl_panoptic_arguments. A library of this file and the core is loaded with RegisterCustomOpsLibrary. */
#include <initializer_list>
#include <memory>
#include <new>

#ifdef _WIN32
#define NOMINMAX
#include <windows.h>
#else
#include <dlfcn.h>
#endif

#include "abi.h"
#include "panoptic.h"
#include "threads.h"

namespace {

constexpr size_t INPUTS = 5;
constexpr size_t OUTPUTS = 11;

struct Kernel {
    const OrtApi *api;
    pdl_panoptic_arguments settings;
};

/* Goes on to the next call while all is well. */
#define RETURN_IF_ERROR(...)                     \
    do {                                         \
        if (OrtStatus *failed = (__VA_ARGS__)) { \
            return failed;                       \
        }                                        \
    } while (false)

OrtStatus *ORT_CALL create(const OrtCustomOp *, const OrtApi *api, const OrtKernelInfo *info, void **kernel) {
    std::unique_ptr<Kernel> made(new (std::nothrow) Kernel{});
    if (made == nullptr) {
        return api->create_status(ORT_FAIL, "PanopticSegmentation: out of memory");
    }
    made->api = api;
    pdl_panoptic_arguments &settings = made->settings;
    RETURN_IF_ERROR(api->get_attribute_float(info, "center_threshold", &settings.center_threshold));
    struct {
        const char *name;
        int64_t *value;
    } const wide[] = {
        {"stride", &settings.stride},         {"top_k", &settings.top_k},
        {"nms_kernel", &settings.nms_kernel}, {"stuff_area", &settings.stuff_area},
        {"label_divisor", &settings.label_divisor},
    };
    for (const auto &attribute : wide) {
        RETURN_IF_ERROR(api->get_attribute_int64(info, attribute.name, attribute.value));
    }
    struct {
        const char *name;
        int32_t *value;
    } const narrow[] = {
        {"void_label", &settings.void_label},
        {"align_corners", &settings.align_corners},
        {"center_source", &settings.center_source},
        {"vote_threshold", &settings.vote_threshold},
        {"class_aware_votes", &settings.class_aware_votes},
    };
    for (const auto &attribute : narrow) {
        int64_t value;
        RETURN_IF_ERROR(api->get_attribute_int64(info, attribute.name, &value));
        *attribute.value = static_cast<int32_t>(value);
    }
    settings.semantic_type = PDL_FLOAT32;
    settings.semantic_probability = 1;
    *kernel = made.release();
    return nullptr;
}

/* The data of an input, which must have `count` dimensions; `dimensions` takes them. */
OrtStatus *read(const OrtApi *api, OrtKernelContext *context, size_t index, size_t count, int64_t *dimensions,
                void **data) {
    const OrtValue *value;
    RETURN_IF_ERROR(api->get_input(context, index, &value));
    OrtShape *shape;
    RETURN_IF_ERROR(api->get_tensor_shape(value, &shape));
    size_t found = 0;
    OrtStatus *status = api->get_dimensions_count(shape, &found);
    if (status == nullptr && found == count) {
        status = api->get_dimensions(shape, dimensions, count);
    }
    api->release_shape(shape);
    RETURN_IF_ERROR(status);
    if (found != count) {
        return api->create_status(ORT_INVALID_ARGUMENT, "PanopticSegmentation: an input has a wrong number of dimensions");
    }
    return api->get_tensor_data(value, data);
}

template <class T>
OrtStatus *write(const OrtApi *api, OrtKernelContext *context, size_t index, std::initializer_list<int64_t> dimensions,
                 T *&data) {
    OrtValue *value;
    RETURN_IF_ERROR(api->get_output(context, index, dimensions.begin(), dimensions.size(), &value));
    return api->get_tensor_data(value, reinterpret_cast<void **>(&data));
}

OrtStatus *ORT_CALL compute(void *state, OrtKernelContext *context) {
    const auto &[api, settings] = *static_cast<const Kernel *>(state);
    pdl_panoptic_arguments arguments = settings;
    int64_t semantic[4], center[4], offset[4], things[1], two[1];
    void *data[INPUTS];
    RETURN_IF_ERROR(read(api, context, 0, 4, semantic, &data[0]));
    RETURN_IF_ERROR(read(api, context, 1, 4, center, &data[1]));
    RETURN_IF_ERROR(read(api, context, 2, 4, offset, &data[2]));
    RETURN_IF_ERROR(read(api, context, 3, 1, things, &data[3]));
    RETURN_IF_ERROR(read(api, context, 4, 1, two, &data[4]));
    bool fits = center[1] == 1 && offset[1] == 2 && things[0] == semantic[1] && two[0] == 2;
    for (int axis : {0, 2, 3}) {
        fits = fits && center[axis] == semantic[axis] && offset[axis] == semantic[axis];
    }
    if (!fits) {
        return api->create_status(ORT_INVALID_ARGUMENT, "PanopticSegmentation: the shapes of the inputs do not fit");
    }
    arguments.semantic = data[0];
    arguments.center = static_cast<const float *>(data[1]);
    arguments.offset = static_cast<const float *>(data[2]);
    arguments.is_thing = static_cast<const uint8_t *>(data[3]);
    arguments.batch = semantic[0];
    arguments.classes = semantic[1];
    arguments.low_height = semantic[2];
    arguments.low_width = semantic[3];
    arguments.semantic_strides[3] = 1;
    for (int axis = 3; axis > 0; --axis) {
        arguments.semantic_strides[axis - 1] = arguments.semantic_strides[axis] * semantic[axis];
    }
    const int64_t *size = static_cast<const int64_t *>(data[4]);
    arguments.height = size[0];
    arguments.width = size[1];
    arguments.threads = pdl::available_threads();
    const int64_t batch = arguments.batch, top_k = arguments.top_k, segments = top_k + arguments.classes;
    pdl_panoptic_results results;
    RETURN_IF_ERROR(write(api, context, 0, {batch, size[0], size[1]}, results.panoptic));
    RETURN_IF_ERROR(write(api, context, 1, {batch, top_k, 2}, results.centers));
    RETURN_IF_ERROR(write(api, context, 2, {batch, top_k}, results.center_scores));
    RETURN_IF_ERROR(write(api, context, 3, {batch, top_k}, results.center_votes));
    RETURN_IF_ERROR(write(api, context, 4, {batch}, results.num_centers));
    RETURN_IF_ERROR(write(api, context, 5, {batch, segments}, results.segment_ids));
    RETURN_IF_ERROR(write(api, context, 6, {batch, segments}, results.segment_areas));
    RETURN_IF_ERROR(write(api, context, 7, {batch, segments, 4}, results.segment_boxes));
    RETURN_IF_ERROR(write(api, context, 8, {batch, segments}, results.segment_centers));
    RETURN_IF_ERROR(write(api, context, 9, {batch, segments}, results.segment_probabilities));
    RETURN_IF_ERROR(write(api, context, 10, {batch}, results.num_segments));
    if (batch == 0) {
        return nullptr;
    }
    switch (pdl_panoptic_segmentation_cpu(&arguments, &results)) {
    case PDL_OK:
        return nullptr;
    case PDL_OUT_OF_MEMORY:
        return api->create_status(ORT_FAIL, "PanopticSegmentation: out of memory");
    default:
        return api->create_status(ORT_INVALID_ARGUMENT, "PanopticSegmentation: a setting or a size is out of range");
    }
}

const OrtCustomOp *make_op() {
    static OrtCustomOp op = {};
    op.version = ORT_API;
    op.name = [](const OrtCustomOp *) { return "PanopticSegmentation"; };
    op.execution_provider = [](const OrtCustomOp *) -> const char * { return nullptr; };
    op.input_type = [](const OrtCustomOp *, size_t index) -> int {
        return index < 3 ? ORT_FLOAT : index == 3 ? ORT_UINT8 : ORT_INT64;
    };
    op.input_count = [](const OrtCustomOp *) { return INPUTS; };
    op.output_type = [](const OrtCustomOp *, size_t index) -> int {
        return index == 2 || index == 9 ? ORT_FLOAT : ORT_INT32;
    };
    op.output_count = [](const OrtCustomOp *) { return OUTPUTS; };
    op.destroy = [](void *kernel) { delete static_cast<Kernel *>(kernel); };
    op.input_characteristic = [](const OrtCustomOp *, size_t) { return 0; };
    op.output_characteristic = [](const OrtCustomOp *, size_t) { return 0; };
    op.input_memory = [](const OrtCustomOp *, size_t) { return 0; };
    op.create = create;
    op.compute = compute;
    return &op;
}

/* ONNX Runtime unloads the library with the last session; the core's threads would wake up in nothing. */
void stay_loaded() {
    static const char here = 0;
#ifdef _WIN32
    HMODULE library;
    GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN, &here, &library);
#else
    Dl_info library;
    if (dladdr(&here, &library) != 0) {
        dlopen(library.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    }
#endif
}

} // namespace

/* What ONNX Runtime looks for in a library of operators. */
extern "C" ORT_EXPORT OrtStatus *ORT_CALL RegisterCustomOps(OrtSessionOptions *options, const OrtApiBase *base) {
    const OrtApi *api = base->get_api(ORT_API);
    if (api == nullptr) {
        return nullptr; /* older than 1.16: it will say that it does not know the operator */
    }
    stay_loaded();
    static const OrtCustomOp *op = make_op();
    /* Sessions refer to it for as long as the library is loaded. */
    OrtCustomOpDomain *domain;
    RETURN_IF_ERROR(api->create_custom_op_domain("panodeeplab", &domain));
    RETURN_IF_ERROR(api->custom_op_domain_add(domain, op));
    return api->add_custom_op_domain(options, domain);
}
