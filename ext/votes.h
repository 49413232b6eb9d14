// Finding the centres of an image by voting: every thing sample says where its centre is, and peaks of the votes are
// centres. Votes are cast by the samples of the grid, not by the pixels of the output: sixteen times fewer at stride 4.
#ifndef PANODEEPLAB_VOTES_H
#define PANODEEPLAB_VOTES_H

#include <vector>

#include "centers.h"
#include "grouping.h"

namespace pdl {

// Centres from votes, and those of `heatmap_peaks` that votes support: at most top_k - 1 in raster order.
std::vector<Center> find_voted_centers(const Image &image, const std::vector<Center> &heatmap_peaks);

}  // namespace pdl

#endif
