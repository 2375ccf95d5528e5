#include "device.h"

#include "agreement.h"

#include "error.h"

#include <ATen/Parallel.h>
#include <torch/cuda.h>

namespace janus {
namespace {

struct Place {
  int rank = 0;
  int ranks = 1;
};

Place on_node(MPI_Comm world) {
  MPI_Comm node;
  MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
  Place place;
  MPI_Comm_rank(node, &place.rank);
  MPI_Comm_size(node, &place.ranks);
  MPI_Comm_free(&node);
  return place;
}

}  // namespace

torch::Device choose_device(LAMMPS_NS::Error *error, Options::Device wanted, MPI_Comm world) {
  if (wanted == Options::Device::cpu) return torch::kCPU;
  const auto place = on_node(world);
  const auto gpus = static_cast<int>(torch::cuda::device_count());
  agree(error, world, [&] {
    if (gpus == 0 && wanted == Options::Device::cuda)
      throw UserError("pair_style janus: device cuda was asked for, but torch finds no GPU: give 'device cpu'");
  });
  if (gpus == 0) return torch::kCPU;
  int rank = 0;
  MPI_Comm_rank(world, &rank);
  if (rank == 0 && place.ranks > gpus)
    error->warning(FLERR, std::to_string(place.ranks) + " ranks of a node share " + std::to_string(gpus) +
                              " GPU(s): one rank per GPU is faster");
  return {torch::kCUDA, static_cast<c10::DeviceIndex>(place.rank % gpus)};
}

ThreadCount::ThreadCount(int count) : before_(at::get_num_threads()) {
  if (count != before_) at::set_num_threads(count);
}

ThreadCount::~ThreadCount() {
  if (at::get_num_threads() != before_) at::set_num_threads(before_);
}

}  // namespace janus
