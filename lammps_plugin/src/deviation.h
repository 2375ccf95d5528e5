// How far the models of an ensemble disagree: the sign of a structure that they were not trained for.
#pragma once

#include "derivatives.h"
#include "halo.h"
#include "neighbour_tables.h"

#include <mpi.h>

#include <vector>

namespace janus {

// What one model says of this rank's atoms, by LAMMPS's index.
struct Opinion {
  torch::Tensor forces;    // eV/Å, float64 [N, 3]
  torch::Tensor energies;  // eV, float64 [N]
};

// Standard deviations over the models.
struct Deviation {
  std::vector<double> forces;    // of each atom: root of the mean |F - mean F|²
  std::vector<double> energies;  // of each atom
  double largest_force = 0;      // over all atoms
  double mean_force = 0;
  double energy = 0;             // of the total energy, per atom
};

// Collective; `forces` is an exchange of three doubles per atom.
Opinion opinion_of(const Evaluation &evaluation, const NeighbourTables &tables, int num_owned, Halo &forces);

// Collective; in eV and Å. `seen`: this rank's atoms that the models see.
Deviation deviation_of(const std::vector<Opinion> &opinions, int64_t seen, MPI_Comm world);

}  // namespace janus
