// Energies of this rank's atoms and their gradients with respect to the edge vectors.
#pragma once

#include "halo.h"
#include "model.h"
#include "neighbour_tables.h"
#include "profile.h"

namespace janus {

struct Evaluation {
  torch::Tensor energies;                // eV, float64 on the CPU, [N]
  std::vector<torch::Tensor> gradients;  // eV/Å, float64 on the CPU, [n_b, K_b, 3] each
};

// What an evaluation works on.
struct Problem {
  Model &model;
  const NeighbourTables &tables;
  const SystemState &state;
  Halo &halo;
  Profile &profile;
};

// Collective: every rank enters the same exchanges, also one without atoms. Keeps everything for the backward pass
// where that is at most `kept` bytes, else as much, and the rest one bucket at a time.
Evaluation evaluate(const Problem &problem, double kept);

}  // namespace janus
