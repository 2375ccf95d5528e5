// Energies of this rank's atoms and their gradients with respect to the edge vectors.
#pragma once

#include "halo.h"
#include "model.h"
#include "neighbour_tables.h"

namespace janus {

struct Evaluation {
  torch::Tensor energies;                // eV, float64 on the CPU, [N]
  std::vector<torch::Tensor> gradients;  // eV/Å, float64 on the CPU, [n_b, K_b, 3] each
};

// Collective: every rank enters the same exchanges, also one without atoms.
Evaluation evaluate(Model &model, const NeighbourTables &tables, Halo &halo, const SystemState &state);

}  // namespace janus
