// Gradients of the edges become LAMMPS's forces, energies and virials.
#pragma once

#include "derivatives.h"
#include "neighbour_tables.h"

namespace janus {

// LAMMPS's accumulators; null where not asked for. Ghosts have rows too: LAMMPS returns them to their owners.
struct Accumulators {
  double **forces;
  double *energy;        // of all atoms
  double *atom_energies;
  double *virial;        // xx, yy, zz, xy, xz, yz
  double **atom_virials;
  double **centroid_virials;  // xx, yy, zz, xy, xz, yz, yx, zx, zy
};

// Adds the evaluation, times `scale` (LAMMPS's energy unit in eV⁻¹).
void tally(const Evaluation &evaluation, const NeighbourTables &tables, double scale, const Accumulators &to);

}  // namespace janus
