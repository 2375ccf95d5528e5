// Errors that every rank learns of, so that none waits in MPI for one that failed.
#pragma once

#include <mpi.h>

#include <functional>
#include <stdexcept>
#include <string>

namespace LAMMPS_NS {
class Error;
}

namespace janus {

// What the user can put right: one sentence that says where and what to do.
struct UserError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Runs `work` on every rank of `world`; if it throws on any, all ranks end with the first one's message.
// `work` must not communicate after a point where it can throw.
void agree(LAMMPS_NS::Error *error, MPI_Comm world, const std::function<void()> &work);

// The file's bytes, read by rank 0 only and given to all. Ends on all ranks when it cannot be read.
std::string read_on_first_rank(LAMMPS_NS::Error *error, MPI_Comm world, const std::string &path);

}  // namespace janus
