#include "device.h"

#include "agreement.h"

#include <ATen/Parallel.h>
#include <torch/cuda.h>

namespace janus {
namespace {

int rank_on_node(MPI_Comm world) {
  MPI_Comm node;
  MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
  int rank = 0;
  MPI_Comm_rank(node, &rank);
  MPI_Comm_free(&node);
  return rank;
}

}  // namespace

torch::Device choose_device(Options::Device wanted, MPI_Comm world) {
  const int rank = rank_on_node(world);
  if (wanted == Options::Device::cpu) return torch::kCPU;
  const auto gpus = static_cast<int>(torch::cuda::device_count());
  if (gpus > 0) return {torch::kCUDA, static_cast<c10::DeviceIndex>(rank % gpus)};
  if (wanted == Options::Device::cuda)
    throw UserError("pair_style janus: device cuda was asked for, but torch finds no GPU: give 'device cpu'");
  return torch::kCPU;
}

ThreadCount::ThreadCount(int count) : before_(at::get_num_threads()) {
  if (count != before_) at::set_num_threads(count);
}

ThreadCount::~ThreadCount() {
  if (at::get_num_threads() != before_) at::set_num_threads(before_);
}

}  // namespace janus
