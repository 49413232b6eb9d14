// The launches of one call, in order. `launch` puts one kernel on the stream, for `images` images at once.
#ifndef PANODEEPLAB_CUDA_LAUNCHES_H
#define PANODEEPLAB_CUDA_LAUNCHES_H

#include "cuda/cast_votes.h"
#include "cuda/centers.h"
#include "cuda/group.h"
#include "cuda/plan.h"
#include "cuda/probability.h"
#include "cuda/segments.h"
#include "cuda/survey.h"
#include "cuda/vote_peaks.h"
#include "cuda/voted_centers.h"
#include "cuda/write.h"

namespace pdl::gpu {

// Images of one launch: more do not fit into the second dimension of a grid.
constexpr int64_t kImages = 65535;

template <class T, class Launch> void launch_all(Plan &plan, int64_t batch, Launch &launch) {
    for (int64_t n = 0; n < batch; n += kImages) {
        plan.first_image = n;
        const int64_t images = batch - n < kImages ? batch - n : kImages;
        launch.template start<Survey<T>>(plan, images);
        if (plan.vote_groups > 0) {
            launch.template start<CastVotes<T>>(plan, images);
            launch.template start<FindVotePeaks>(plan, images);
            launch.template start<CollectVotedCenters<T>>(plan, images);
        } else {
            launch.template start<CollectCenters<T>>(plan, images);
        }
        launch.template start<Group<T>>(plan, images);
        launch.template start<NameSegments>(plan, images);
        if (plan.semantic_probability != 0) launch.template start<SumProbabilities<T>>(plan, images);
        launch.template start<WriteIds>(plan, images);
    }
}

template <class Launch> void launch_all(Plan &plan, const pdl_cuda_arguments &arguments, Launch &launch) {
    if (arguments.dtype == PDL_CUDA_FLOAT32)
        launch_all<float>(plan, arguments.batch, launch);
    else if (arguments.dtype == PDL_CUDA_FLOAT16)
        launch_all<Half>(plan, arguments.batch, launch);
    else
        launch_all<Bfloat>(plan, arguments.batch, launch);
}

}  // namespace pdl::gpu

#endif
