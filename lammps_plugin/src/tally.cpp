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

// -r ⊗ g as it is: the force of an edge need not be along it.
void centroid_virial(const double *r, const double *g, double *w) {
  constexpr int kRow[9] = {0, 1, 2, 0, 0, 1, 1, 2, 2};
  constexpr int kColumn[9] = {0, 1, 2, 1, 2, 2, 0, 0, 1};
  for (int a = 0; a < 9; ++a) w[a] = -r[kRow[a]] * g[kColumn[a]];
}

// Half to each end: the centroid of two atoms is in their middle.
template <int N> void share(const double *w, double *one, double *other) {
  for (int a = 0; a < N; ++a) {
    one[a] += 0.5 * w[a];
    other[a] += 0.5 * w[a];
  }
}

void tally_edge(int i, int j, const double *r, const double *gradient, double scale, const Accumulators &to) {
  double g[3];
  for (int a = 0; a < 3; ++a) {
    g[a] = scale * gradient[a];
    to.forces[i][a] += g[a];
    to.forces[j][a] -= g[a];
  }
  double w[9];
  if (to.virial || to.atom_virials) edge_virial(r, g, w);
  if (to.virial)
    for (int a = 0; a < 6; ++a) to.virial[a] += w[a];
  if (to.atom_virials) share<6>(w, to.atom_virials[i], to.atom_virials[j]);
  if (!to.centroid_virials) return;
  centroid_virial(r, g, w);
  share<9>(w, to.centroid_virials[i], to.centroid_virials[j]);
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
