/* The part of ONNX Runtime's C interface that a custom op needs.
 *
 * The wheels of ONNX Runtime bring no headers, and none are needed: the interface is a table of function pointers that
 * is only ever appended to, so that places and types below hold for every ONNX Runtime since 1.16 (its API 16).
 * Source: ONNX Runtime, onnxruntime_c_api.h (OrtApiBase, OrtApi, OrtCustomOp). */
#ifndef PANODEEPLAB_ONNXRUNTIME_ABI_H
#define PANODEEPLAB_ONNXRUNTIME_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef _WIN32
#define ORT_CALL __stdcall
#define ORT_EXPORT __declspec(dllexport)
#else
#define ORT_CALL
#define ORT_EXPORT __attribute__((visibility("default")))
#endif

#define ORT_API 16

typedef struct OrtStatus OrtStatus;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtCustomOpDomain OrtCustomOpDomain;
typedef struct OrtKernelInfo OrtKernelInfo;
typedef struct OrtKernelContext OrtKernelContext;
typedef struct OrtValue OrtValue;
typedef struct OrtShape OrtShape; /* OrtTensorTypeAndShapeInfo */

enum { ORT_FLOAT = 1, ORT_UINT8 = 2, ORT_INT32 = 6, ORT_INT64 = 7 };
enum { ORT_FAIL = 1, ORT_INVALID_ARGUMENT = 2 };

typedef struct {
    OrtStatus *(ORT_CALL *create_status)(int code, const char *message); /* 0 */
    const void *gap_1[25];
    OrtStatus *(ORT_CALL *create_custom_op_domain)(const char *name, OrtCustomOpDomain **domain); /* 26 */
    OrtStatus *(ORT_CALL *custom_op_domain_add)(OrtCustomOpDomain *domain, const struct OrtCustomOp *op);
    OrtStatus *(ORT_CALL *add_custom_op_domain)(OrtSessionOptions *options, OrtCustomOpDomain *domain);
    const void *gap_29[22];
    OrtStatus *(ORT_CALL *get_tensor_data)(const OrtValue *value, void **data); /* 51 */
    const void *gap_52[9];
    OrtStatus *(ORT_CALL *get_dimensions_count)(const OrtShape *shape, size_t *count); /* 61 */
    OrtStatus *(ORT_CALL *get_dimensions)(const OrtShape *shape, int64_t *dimensions, size_t count);
    const void *gap_63[2];
    OrtStatus *(ORT_CALL *get_tensor_shape)(const OrtValue *value, OrtShape **shape); /* 65 */
    const void *gap_66[19];
    OrtStatus *(ORT_CALL *get_attribute_float)(const OrtKernelInfo *info, const char *name, float *value); /* 85 */
    OrtStatus *(ORT_CALL *get_attribute_int64)(const OrtKernelInfo *info, const char *name, int64_t *value);
    const void *gap_87[3];
    OrtStatus *(ORT_CALL *get_input)(const OrtKernelContext *context, size_t index, const OrtValue **value); /* 90 */
    OrtStatus *(ORT_CALL *get_output)(OrtKernelContext *context, size_t index, const int64_t *dimensions, size_t count,
                                      OrtValue **value);
    const void *gap_92[7];
    void(ORT_CALL *release_shape)(OrtShape *shape); /* 99 */
} OrtApi;

typedef struct {
    const OrtApi *(ORT_CALL *get_api)(uint32_t version);
    const char *(ORT_CALL *get_version)(void);
} OrtApiBase;

/* Places after `compute` are read by later versions only where they are not null, or not at all for ORT_API 16. */
typedef struct OrtCustomOp {
    uint32_t version;
    void *(ORT_CALL *create_unchecked)(const struct OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info);
    const char *(ORT_CALL *name)(const struct OrtCustomOp *op);
    const char *(ORT_CALL *execution_provider)(const struct OrtCustomOp *op);
    int(ORT_CALL *input_type)(const struct OrtCustomOp *op, size_t index);
    size_t(ORT_CALL *input_count)(const struct OrtCustomOp *op);
    int(ORT_CALL *output_type)(const struct OrtCustomOp *op, size_t index);
    size_t(ORT_CALL *output_count)(const struct OrtCustomOp *op);
    void(ORT_CALL *compute_unchecked)(void *kernel, OrtKernelContext *context);
    void(ORT_CALL *destroy)(void *kernel);
    int(ORT_CALL *input_characteristic)(const struct OrtCustomOp *op, size_t index);
    int(ORT_CALL *output_characteristic)(const struct OrtCustomOp *op, size_t index);
    int(ORT_CALL *input_memory)(const struct OrtCustomOp *op, size_t index);
    int(ORT_CALL *variadic_input_least)(const struct OrtCustomOp *op);
    int(ORT_CALL *variadic_input_alike)(const struct OrtCustomOp *op);
    int(ORT_CALL *variadic_output_least)(const struct OrtCustomOp *op);
    int(ORT_CALL *variadic_output_alike)(const struct OrtCustomOp *op);
    OrtStatus *(ORT_CALL *create)(const struct OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info,
                                  void **kernel);
    OrtStatus *(ORT_CALL *compute)(void *kernel, OrtKernelContext *context);
    const void *later[8];
} OrtCustomOp;

#endif
