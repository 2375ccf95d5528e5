#include "profile.h"

#include <torch/cuda.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace janus {
namespace {

constexpr std::array<const char *, Profile::num_parts> kPartNames = {"",         "edges",    "line graph", "forward",
                                                                     "exchange", "backward", "scatter"};

}  // namespace

Profile::Part Profile::enter(Part part) {
  if (gpu_) torch::cuda::synchronize(*gpu_);
  const auto now = Clock::now();
  seconds_[part_] += std::chrono::duration<double>(now - since_).count();
  since_ = now;
  return std::exchange(part_, part);
}

void Profile::restart() {
  seconds_.fill(0.0);
  steps_ = bytes_ = 0;
}

std::string Profile::table(MPI_Comm world) const {
  int rank = 0;
  int ranks = 1;
  MPI_Comm_rank(world, &rank);
  MPI_Comm_size(world, &ranks);
  std::array<double, num_parts + 1> own{};
  std::copy(seconds_.begin(), seconds_.end(), own.begin());
  own[num_parts] = static_cast<double>(bytes_);
  auto least = own;
  auto most = own;
  auto mean = own;
  MPI_Allreduce(own.data(), least.data(), num_parts + 1, MPI_DOUBLE, MPI_MIN, world);
  MPI_Allreduce(own.data(), most.data(), num_parts + 1, MPI_DOUBLE, MPI_MAX, world);
  MPI_Allreduce(own.data(), mean.data(), num_parts + 1, MPI_DOUBLE, MPI_SUM, world);
  if (rank != 0 || steps_ == 0) return {};
  double total = 0.0;
  for (int part = edges; part < num_parts; ++part) total += mean[part];
  std::string text = "\nJanus-MD, milliseconds per step over " + std::to_string(steps_) +
                     " steps:\nPart       |  min rank |      mean |  max rank | %total\n" +
                     "---------------------------------------------------------\n";
  char line[160];
  const double scale = 1e3 / static_cast<double>(steps_);
  for (int part = edges; part < num_parts; ++part) {
    std::snprintf(line, sizeof line, "%-10s | %9.3f | %9.3f | %9.3f | %6.2f\n", kPartNames[part], scale * least[part],
                  scale * mean[part] / ranks, scale * most[part], total > 0 ? 100.0 * mean[part] / total : 0.0);
    text += line;
  }
  const double steps = static_cast<double>(steps_);
  std::snprintf(line, sizeof line, "bytes sent | %9.0f | %9.0f | %9.0f |\n", least[num_parts] / steps,
                mean[num_parts] / ranks / steps, most[num_parts] / steps);
  return text + line;
}

}  // namespace janus
