#include "device.h"

#include "agreement.h"
#include "local_rank.h"

#include "error.h"

#include <ATen/Parallel.h>
#include <torch/cuda.h>

namespace janus {

torch::Device choose_device(LAMMPS_NS::Error *error, Options::Device wanted, MPI_Comm world) {
  if (wanted == Options::Device::cpu) return torch::kCPU;
  const auto gpus = static_cast<int>(torch::cuda::device_count());
  agree(error, world, [&] {
    if (gpus == 0 && wanted == Options::Device::cuda)
      throw UserError("pair_style janus: device cuda was asked for, but torch finds no GPU: give 'device cpu'");
  });
  const int number = local_rank(world);
  int sharing = gpus > 0 && number >= gpus ? number + 1 : 0;
  MPI_Allreduce(MPI_IN_PLACE, &sharing, 1, MPI_INT, MPI_MAX, world);
  int rank = 0;
  MPI_Comm_rank(world, &rank);
  if (rank == 0 && sharing > 0)
    error->warning(FLERR, std::to_string(sharing) + " ranks of a node share its GPUs, unless the launcher shows each "
                                                    "its own: one rank per GPU is faster");
  if (gpus == 0) return torch::kCPU;
  return {torch::kCUDA, static_cast<c10::DeviceIndex>(number % gpus)};
}

ThreadCount::ThreadCount(int count) : before_(at::get_num_threads()) {
  if (count != before_) at::set_num_threads(count);
}

ThreadCount::~ThreadCount() {
  if (at::get_num_threads() != before_) at::set_num_threads(before_);
}

}  // namespace janus
