// The model run once, everything kept that its derivatives need: fastest, for few atoms.
#pragma once

#include "derivatives.h"

namespace janus {

Evaluation evaluate_whole(const Problem &problem);

}  // namespace janus
