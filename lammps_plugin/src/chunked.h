// The model run bucket by bucket, the last block forward and back at once, the others again in the backward pass:
// between blocks only the features of atoms and edges are kept, and everything larger is bounded by the size of a
// bucket. Buckets of late blocks that fit into `kept` bytes are kept whole instead.
#pragma once

#include "derivatives.h"

namespace janus {

Evaluation evaluate_chunked(const Problem &problem, double kept);

}  // namespace janus
