#include "tally.h"

namespace janus {
namespace {

// -r ⊗ g, symmetrised, as LAMMPS orders it.
void edge_virial(const double *r, const double *g, double *w) {
  for (int a = 0; a < 3; ++a) w[a] = -r[a] * g[a];
  w[3] = -0.5 * (r[0] * g[1] + r[1] * g[0]);
  w[4] = -0.5 * (r[0] * g[2] + r[2] * g[0]);
  w[5] = -0.5 * (r[1] * g[2] + r[2] * g[1]);
}

void tally_edge(int i, int j, const double *r, const double *gradient, double scale, const Accumulators &to) {
  double g[3];
  for (int a = 0; a < 3; ++a) {
    g[a] = scale * gradient[a];
    to.forces[i][a] += g[a];
    to.forces[j][a] -= g[a];
  }
  if (!to.virial && !to.atom_virials) return;
  double w[6];
  edge_virial(r, g, w);
  for (int a = 0; a < 6; ++a) {
    if (to.virial) to.virial[a] += w[a];
    if (to.atom_virials) {
      to.atom_virials[i][a] += 0.5 * w[a];
      to.atom_virials[j][a] += 0.5 * w[a];
    }
  }
}

void tally_energies(const Evaluation &evaluation, const NeighbourTables &tables, double scale, const Accumulators &to) {
  const auto *energies = evaluation.energies.data_ptr<double>();
  for (int64_t row = 0; row < tables.num_owned; ++row) {
    if (to.energy) *to.energy += scale * energies[row];
    if (to.atom_energies) to.atom_energies[tables.atoms[row]] += scale * energies[row];
  }
}

}  // namespace

void tally(const Evaluation &evaluation, const NeighbourTables &tables, double scale, const Accumulators &to) {
  tally_energies(evaluation, tables, scale, to);
  int64_t row = 0;
  for (size_t bucket = 0; bucket < tables.vectors.size(); ++bucket) {
    const auto gradients = evaluation.gradients[bucket].contiguous();
    const auto *gradient = gradients.data_ptr<double>();
    const auto *vector = tables.vectors[bucket].data_ptr<double>();
    const auto *neighbour = tables.neighbours[bucket].data_ptr<int64_t>();
    const int64_t width = tables.vectors[bucket].size(1);
    for (int64_t last = row + tables.vectors[bucket].size(0); row < last; ++row) {
      for (int k = 0; k < tables.num_edges[row]; ++k)
        tally_edge(tables.atoms[row], tables.atoms[neighbour[k]], vector + 3 * k, gradient + 3 * k, scale, to);
      gradient += 3 * width;
      vector += 3 * width;
      neighbour += width;
    }
  }
}

}  // namespace janus
