// One block of one bucket that keeps only its inputs, and computes the rest again in the backward pass: memory grows
// with the features of atoms and edges instead of everything inside the blocks, for about a third more time.
#pragma once

#include "model.h"

#include <tuple>
#include <vector>

namespace janus {

// As Model::bucket.
std::tuple<torch::Tensor, torch::Tensor> recomputed_bucket(Model &model, int64_t index, int64_t first,
                                                           const torch::Tensor &features, const torch::Tensor &edges,
                                                           const std::vector<torch::Tensor> &context);

}  // namespace janus
