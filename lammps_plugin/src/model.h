// An exported model in memory: its manifest, and the three steps an engine takes with it.
#pragma once

#include "manifest.h"

#include <torch/script.h>

#include <optional>
#include <string>
#include <tuple>

namespace janus {

// What holds for the whole system; tensors have one row because LAMMPS holds one system.
struct SystemState {
  torch::Tensor task;         // int64 [1]
  torch::Tensor charge;       // e, float64 [1]
  torch::Tensor spin;         // multiplicity, float64 [1]
  torch::Tensor composition;  // fraction of each element, float64 [1, elements]
};

class Model {
 public:
  // From the bytes of a *.janus.pt. `precision` is "single" or "double", or that of the file.
  // Throws UserError naming `path` for damaged files and unsuitable versions.
  Model(const std::string &bytes, const std::string &path, torch::Device device,
        const std::optional<std::string> &precision);

  const Manifest &manifest() const { return manifest_; }
  torch::Device device() const { return device_; }
  torch::ScalarType dtype() const { return dtype_; }

  // Features [N_all, C]; edges and context are handed back to block() as they are.
  std::tuple<torch::Tensor, c10::IValue, c10::IValue> start(const torch::Tensor &species,
                                                            const std::vector<torch::Tensor> &neighbours,
                                                            const std::vector<torch::Tensor> &vectors,
                                                            const std::vector<int64_t> &line_counts,
                                                            const SystemState &state);

  // Features of all rows [N_all, C] -> those of the owned rows [N, C], and new edges.
  std::tuple<torch::Tensor, c10::IValue> block(int64_t index, const torch::Tensor &features, const c10::IValue &edges,
                                               const c10::IValue &context);

  // Energies of the owned rows, eV, float64 [N].
  torch::Tensor finish(const torch::Tensor &features, const torch::Tensor &species, const SystemState &state);

 private:
  void convert(torch::ScalarType dtype);

  Manifest manifest_;
  torch::Device device_;
  torch::ScalarType dtype_ = torch::kFloat32;
  torch::jit::Module module_;
};

}  // namespace janus
