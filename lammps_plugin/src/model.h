// An exported model in memory: its manifest, and the steps an evaluation takes with it.
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

struct Start {
  torch::Tensor features;
  std::vector<torch::Tensor> edges;
  std::vector<std::vector<torch::Tensor>> contexts;
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

  // Bytes that a backward pass through all blocks keeps for so many slots of neighbour tables.
  int64_t kept_bytes(int64_t slots) const {
    return slots * module_.attr("floats_per_edge").toInt() * static_cast<int64_t>(c10::elementSize(dtype_));
  }

  // Features of all rows [N_all, C], of each bucket's edges, and each bucket's context.
  Start start(const torch::Tensor &species, const std::vector<torch::Tensor> &neighbours,
              const std::vector<torch::Tensor> &vectors, const std::vector<int64_t> &line_counts,
              const SystemState &state);

  // What `start` is made of. Features of rows, whatever their neighbours, [rows, C].
  torch::Tensor embed(const torch::Tensor &species, const SystemState &state);

  // A bucket's first edge features and its context. `neighbours`, its species and `vectors`: [n, K].
  std::tuple<torch::Tensor, std::vector<torch::Tensor>> geometry(const torch::Tensor &vectors,
                                                                 const torch::Tensor &neighbours,
                                                                 const torch::Tensor &centre_species,
                                                                 const torch::Tensor &neighbour_species,
                                                                 int64_t line_count);

  // Block `index` for the bucket whose rows begin at `first`: from the features of all rows [N_all, C] and of the
  // bucket's edges, the new ones of the bucket's rows [n, C] and of its edges.
  std::tuple<torch::Tensor, torch::Tensor> bucket(int64_t index, int64_t first, const torch::Tensor &features,
                                                  const torch::Tensor &edges,
                                                  const std::vector<torch::Tensor> &context);

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
