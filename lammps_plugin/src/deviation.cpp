#include "deviation.h"

namespace janus {
namespace {

torch::Tensor deviation(const torch::Tensor &values) { return (values - values.mean(0)).square().mean(0).sqrt(); }

std::vector<double> as_vector(const torch::Tensor &values) {
  const auto *data = values.data_ptr<double>();
  return {data, data + values.numel()};
}

// Unused slots point at their own row, so what they give it and take from it is nothing.
torch::Tensor row_forces(const Evaluation &evaluation, const NeighbourTables &tables) {
  auto forces = torch::zeros({static_cast<int64_t>(tables.atoms.size()), 3}, torch::kFloat64);
  int64_t first = 0;
  for (size_t b = 0; b < tables.neighbours.size(); ++b) {
    const auto &gradients = evaluation.gradients[b];
    const int64_t last = first + gradients.size(0);
    forces.slice(0, first, last) += gradients.sum(1);
    forces.index_add_(0, tables.neighbours[b].flatten(), gradients.reshape({-1, 3}), -1);
    first = last;
  }
  return forces;
}

}  // namespace

Opinion opinion_of(const Evaluation &evaluation, const NeighbourTables &tables, int num_owned, Halo &forces) {
  auto rows = torch::empty({tables.num_owned}, torch::kInt64);
  std::copy_n(tables.atoms.begin(), tables.num_owned, rows.data_ptr<int64_t>());
  const auto number = torch::TensorOptions().dtype(torch::kFloat64);
  const auto whole = forces.backward(row_forces(evaluation, tables));
  return {torch::zeros({num_owned, 3}, number).index_copy(0, rows, whole),
          torch::zeros({num_owned}, number).index_copy(0, rows, evaluation.energies)};
}

Deviation deviation_of(const std::vector<Opinion> &opinions, int64_t seen, MPI_Comm world) {
  std::vector<torch::Tensor> forces;
  std::vector<torch::Tensor> energies;
  for (const auto &opinion : opinions) {
    forces.push_back(opinion.forces);
    energies.push_back(opinion.energies);
  }
  const auto by_atom = (torch::stack(forces) - torch::stack(forces).mean(0)).square().sum(-1).mean(0).sqrt();
  const auto by_model = torch::stack(energies);
  auto totals = by_model.sum(1);
  double largest = by_atom.numel() > 0 ? by_atom.max().item<double>() : 0.0;
  double sums[2] = {by_atom.sum().item<double>(), static_cast<double>(seen)};
  MPI_Allreduce(MPI_IN_PLACE, totals.data_ptr<double>(), static_cast<int>(totals.numel()), MPI_DOUBLE, MPI_SUM, world);
  MPI_Allreduce(MPI_IN_PLACE, &largest, 1, MPI_DOUBLE, MPI_MAX, world);
  MPI_Allreduce(MPI_IN_PLACE, sums, 2, MPI_DOUBLE, MPI_SUM, world);
  const double atoms = std::max(sums[1], 1.0);
  return {as_vector(by_atom), as_vector(deviation(by_model).contiguous()), largest, sums[0] / atoms,
          deviation(totals).item<double>() / atoms};
}

}  // namespace janus
