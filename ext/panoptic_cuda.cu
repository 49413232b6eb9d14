// Runs the kernels of cuda/ on a GPU. Compile with --fmad=false: contraction would change bits.
#include "panoptic_cuda.h"

#include <cuda_runtime.h>

#include "cuda/launches.h"

namespace pdl::gpu {
namespace {

// Of one multiprocessor at once, at least: as many as the oldest has room for.
constexpr int32_t kThreads = 1024;

template <class Kernel>
__global__ void __launch_bounds__(Kernel::kThreads, kThreads / Kernel::kThreads) run(const __grid_constant__ Plan plan) {
    __shared__ typename Kernel::Shared shared;
    DeviceBlock<Kernel::kThreads> block;
    Kernel::run(block, shared, plan);
}

class Launch {
public:
    explicit Launch(cudaStream_t stream) : stream_(stream) {}

    template <class Kernel> void start(const Plan &plan, int64_t images) {
        if (error_ != cudaSuccess) return;
        const dim3 grid(static_cast<unsigned>(Kernel::blocks(plan)), static_cast<unsigned>(images));
        run<Kernel><<<grid, Kernel::kThreads, 0, stream_>>>(plan);
        error_ = cudaGetLastError();
    }

    cudaError_t error() const { return error_; }

private:
    cudaStream_t stream_;
    cudaError_t error_ = cudaSuccess;
};

}  // namespace
}  // namespace pdl::gpu

extern "C" int64_t pdl_cuda_scratch_bytes(const pdl_cuda_arguments *arguments) {
    pdl::gpu::Plan plan;
    return pdl::gpu::plan_sizes(*arguments, plan) ? plan.scratch.size * arguments->batch : -1;
}

extern "C" int pdl_panoptic_segmentation_cuda(const pdl_cuda_arguments *arguments, const pdl_cuda_results *results) {
    pdl::gpu::Plan plan;
    if (!pdl::gpu::plan_all(*arguments, *results, plan)) return PDL_CUDA_INVALID_ARGUMENT;
    pdl::gpu::Launch launch(static_cast<cudaStream_t>(arguments->stream));
    pdl::gpu::launch_all(plan, *arguments, launch);
    return launch.error() == cudaSuccess ? PDL_CUDA_OK : PDL_CUDA_ERROR + static_cast<int>(launch.error());
}

extern "C" const char *pdl_cuda_error_text(int status) {
    return cudaGetErrorString(static_cast<cudaError_t>(status - PDL_CUDA_ERROR));
}
