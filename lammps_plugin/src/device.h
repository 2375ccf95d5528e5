// Where the model runs.
#pragma once

#include "options.h"

#include <mpi.h>
#include <torch/script.h>

namespace LAMMPS_NS {
class Error;
}

namespace janus {

// The CPU, or the GPU with the number of this rank on its node, round and round (collective). A warning tells where
// there are fewer GPUs than ranks.
torch::Device choose_device(LAMMPS_NS::Error *error, Options::Device wanted, MPI_Comm world);

// While it lives, libtorch uses `count` threads on the CPU; then again as many as before,
// for LAMMPS may share the process with a Python program that uses torch.
class ThreadCount {
 public:
  explicit ThreadCount(int count);
  ~ThreadCount();
  ThreadCount(const ThreadCount &) = delete;
  ThreadCount &operator=(const ThreadCount &) = delete;

 private:
  int before_;
};

}  // namespace janus
