#include "not_finite.h"

#include <cmath>
#include <limits>

namespace janus {
namespace {

bool finite(const Evaluation &evaluation) {
  double sum = evaluation.energies.sum().item<double>();
  for (const auto &gradients : evaluation.gradients) sum += gradients.sum().item<double>();
  return std::isfinite(sum);
}

std::optional<NotFinite> worst(const Evaluation &evaluation, const NeighbourTables &tables) {
  std::optional<NotFinite> found;
  int64_t row = 0;
  for (size_t b = 0; b < tables.vectors.size(); ++b) {
    const auto lengths = tables.vectors[b].norm(2, -1);
    const auto fine = evaluation.gradients[b].isfinite().flatten(1).all(1);
    for (int64_t k = 0; k < lengths.size(0); ++k, ++row) {
      if (fine[k].item<bool>() && std::isfinite(evaluation.energies[row].item<double>())) continue;
      const double nearest = tables.num_edges[row] > 0 ? lengths[k][0].item<double>()
                                                       : std::numeric_limits<double>::infinity();
      if (!found || nearest < found->distance) found = NotFinite{tables.atoms[row], nearest};
    }
  }
  return found;
}

}  // namespace

std::optional<NotFinite> find_not_finite(const Evaluation &evaluation, const NeighbourTables &tables, MPI_Comm world) {
  const auto found = finite(evaluation) ? std::nullopt : worst(evaluation, tables);
  int rank = 0;
  int ranks = 1;
  MPI_Comm_rank(world, &rank);
  MPI_Comm_size(world, &ranks);
  struct {
    double distance;
    int rank;
  } own{std::numeric_limits<double>::infinity(), ranks}, least{};
  if (found) own = {found->distance, rank};
  MPI_Allreduce(&own, &least, 1, MPI_DOUBLE_INT, MPI_MINLOC, world);
  if (least.rank == ranks) return std::nullopt;
  return NotFinite{least.rank == rank ? found->atom : -1, least.distance};
}

}  // namespace janus
