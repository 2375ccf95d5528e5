// The exchange between blocks: features of owned atoms go to their ghosts on other ranks, and in the backward pass
// the ghosts' gradients return and are summed.
#pragma once

#include "neighbour_tables.h"
#include "profile.h"

#include <torch/script.h>

#include <functional>

namespace janus {

class Halo {
 public:
  // LAMMPS's forward or reverse communication of so many doubles per atom, which calls the pack functions below.
  using Communication = std::function<void(int doubles)>;

  // Every rank must build one and enter each exchange, also one without atoms.
  Halo(const NeighbourTables &tables, int num_atoms, int64_t width, torch::ScalarType dtype, Communication to_ghosts,
       Communication to_owners, Profile &profile);

  // Owned rows [N, C] -> all rows [N_all, C]; differentiable.
  torch::Tensor extend(const torch::Tensor &owned);

  torch::Tensor forward(const torch::Tensor &owned);
  torch::Tensor backward(const torch::Tensor &all);

  // Of atoms' features, by LAMMPS's indices; `buffer` counts in doubles. Two floats share a double.
  int pack(int count, const int *atoms, double *buffer);
  void unpack(int count, int first, const double *buffer);
  int pack_reverse(int count, int first, double *buffer);
  void unpack_reverse(int count, const int *atoms, const double *buffer);

  // Doubles per atom in an exchange.
  static int doubles_per_atom(int64_t width, torch::ScalarType dtype);

 private:
  std::byte *row(int atom) const { return data_ + static_cast<size_t>(atom) * row_bytes_; }
  int sent(int count);
  template <typename T> void add(int count, const int *atoms, const double *buffer);

  torch::Tensor owned_;   // LAMMPS's indices, int64 [N]
  torch::Tensor ghosts_;  // [N_all - N]
  torch::Tensor buffer_;  // features by LAMMPS's index, on the CPU, [atoms, C]
  std::byte *data_;
  size_t row_bytes_;
  size_t doubles_;
  Communication to_ghosts_;
  Communication to_owners_;
  Profile &profile_;
};

}  // namespace janus
