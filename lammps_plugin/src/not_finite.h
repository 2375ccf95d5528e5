// Energies or forces that are no numbers: found before they move an atom.
#pragma once

#include "derivatives.h"
#include "neighbour_tables.h"

#include <mpi.h>

#include <optional>

namespace janus {

// An atom with such values. They spread to its neighbours, so the one with the nearest neighbour is the likely cause.
struct NotFinite {
  int atom;         // LAMMPS's index on the rank that has it, -1 on the others
  double distance;  // Å, to its nearest neighbour; infinite without one
};

// The same answer on every rank but for the atom (collective).
std::optional<NotFinite> find_not_finite(const Evaluation &evaluation, const NeighbourTables &tables, MPI_Comm world);

}  // namespace janus
