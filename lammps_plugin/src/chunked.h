// The model run bucket by bucket, and again bucket by bucket in the backward pass: between blocks only the features of
// atoms and edges are kept, and everything larger is bounded by the size of a bucket. About a third more time.
#pragma once

#include "derivatives.h"

namespace janus {

Evaluation evaluate_chunked(const Problem &problem);

}  // namespace janus
