// This rank's number among those of its node, by which it takes a GPU.
#pragma once

#include <mpi.h>

namespace janus {

// The launcher's number where it gives one: `world` may hold part of the node's ranks only, under -partition and in
// communicators from Python, and these are not to begin at the same GPU. Else the number within `world` (collective).
int local_rank(MPI_Comm world);

}  // namespace janus
