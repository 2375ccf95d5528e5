#include "chunked.h"

#include <torch/csrc/autograd/autograd.h>

#include <numeric>

namespace janus {
namespace {

using torch::autograd::variable_list;

// A bucket that knows the rows it reads, so that its cost does not grow with the number of all atoms.
struct Chunk {
  int64_t first;             // of its rows
  int64_t size;
  torch::Tensor rows;        // it reads: its own, then its neighbours'; int64 [m]
  torch::Tensor neighbours;  // places among these, int64 [n, K]
  torch::Tensor centre_species;     // [n]
  torch::Tensor neighbour_species;  // [n, K]
  torch::Tensor vectors;            // Å, float64 [n, K, 3]
  int64_t line_count;
};

// `place` holds -1 for every row, before and after.
Chunk chunk_of(const NeighbourTables &tables, size_t bucket, int64_t first, std::vector<int64_t> &place,
               torch::Device device) {
  const auto &table = tables.neighbours[bucket];
  const int64_t size = table.size(0);
  std::vector<int64_t> rows(size);
  std::iota(rows.begin(), rows.end(), first);
  for (int64_t i = 0; i < size; ++i) place[first + i] = i;
  auto local = torch::empty_like(table);
  const auto *global = table.data_ptr<int64_t>();
  auto *target = local.data_ptr<int64_t>();
  for (int64_t k = 0; k < table.numel(); ++k) {
    auto &at = place[global[k]];
    if (at < 0) {
      at = static_cast<int64_t>(rows.size());
      rows.push_back(global[k]);
    }
    target[k] = at;
  }
  for (const auto row : rows) place[row] = -1;
  const auto species = tables.species.index_select(0, table.flatten()).view(table.sizes());
  return {first,
          size,
          torch::tensor(rows, torch::kInt64).to(device),
          local.to(device),
          tables.species.slice(0, first, first + size).to(device),
          species.to(device),
          tables.vectors[bucket].to(device),
          tables.line_counts[bucket]};
}

class Sweep {
 public:
  explicit Sweep(const Problem &problem)
      : problem_(problem),
        model_(problem.model),
        num_blocks_(model_.manifest().num_blocks),
        atoms_(num_blocks_),
        edges_(num_blocks_) {
    const Profile::Section section(problem.profile, Profile::edges);
    std::vector<int64_t> place(problem.tables.atoms.size(), -1);
    int64_t first = 0;
    for (size_t bucket = 0; bucket < problem.tables.neighbours.size(); ++bucket) {
      chunks_.push_back(chunk_of(problem.tables, bucket, first, place, model_.device()));
      first += chunks_.back().size;
    }
  }

  // Fills atoms_ and edges_, the features that each block begins with; returns those after the last.
  torch::Tensor forward() {
    const torch::NoGradGuard plain;
    const Profile::Section section(problem_.profile, Profile::forward);
    torch::Tensor features = model_.embed(problem_.tables.species.to(model_.device()), problem_.state);
    for (int64_t index = 0; index < num_blocks_; ++index) {
      atoms_[index] = index == 0 ? features : problem_.halo.forward(features);
      std::vector<torch::Tensor> updated;
      for (size_t c = 0; c < chunks_.size(); ++c) {
        const auto read = atoms_[index].index_select(0, chunks_[c].rows);
        const auto [atoms, edges] = run(index, chunks_[c], read, edges_of(index, c), chunks_[c].vectors);
        updated.push_back(atoms);
        if (index + 1 < num_blocks_) edges_[index + 1].push_back(edges);
      }
      features = torch::cat(updated);
    }
    return features;
  }

  // `back`: gradient by the final features. Lets go of a block's features once they are done with.
  std::vector<torch::Tensor> backward(torch::Tensor back) {
    const Profile::Section section(problem_.profile, Profile::backward);
    std::vector<torch::Tensor> gradients(chunks_.size());
    std::vector<torch::Tensor> edge_gradients(chunks_.size());
    for (int64_t index = num_blocks_ - 1; index >= 0; --index) {
      auto all = index > 0 ? torch::zeros_like(atoms_[index]) : torch::Tensor();
      for (size_t c = 0; c < chunks_.size(); ++c) {
        const auto own = back.slice(0, chunks_[c].first, chunks_[c].first + chunks_[c].size);
        const auto found = pull_back(index, c, own, edge_gradients[c]);
        gradients[c] = gradients[c].defined() ? gradients[c] + found[0] : found[0];
        if (index == 0) continue;
        all.index_add_(0, chunks_[c].rows, found[1]);
        edge_gradients[c] = found[2];
        edges_[index][c] = torch::Tensor();
      }
      atoms_[index] = torch::Tensor();
      if (index > 0) back = problem_.halo.backward(all);
    }
    return gradients;
  }

 private:
  torch::Tensor edges_of(int64_t index, size_t chunk) const {
    return index == 0 ? torch::Tensor() : edges_[index][chunk];
  }

  // Block `index`: new features of the chunk's atoms and edges. The first block's edges follow from the vectors.
  std::tuple<torch::Tensor, torch::Tensor> run(int64_t index, const Chunk &chunk, const torch::Tensor &atoms,
                                               const torch::Tensor &edges, const torch::Tensor &vectors) {
    auto [first_edges, context] = [&] {
      const Profile::Section section(problem_.profile, Profile::line_graph);
      return model_.geometry(vectors, chunk.neighbours, chunk.centre_species, chunk.neighbour_species,
                             chunk.line_count);
    }();
    return model_.bucket(index, 0, atoms, index == 0 ? first_edges : edges, context);
  }

  // Gradients by the vectors and, after the first block, by the features of the rows read and of the edges.
  variable_list pull_back(int64_t index, size_t c, const torch::Tensor &by_atoms, const torch::Tensor &by_edges) {
    const torch::AutoGradMode record(true);
    const auto &chunk = chunks_[c];
    const bool later = index > 0;
    const auto vectors = chunk.vectors.detach().requires_grad_(true);
    const auto atoms = atoms_[index].index_select(0, chunk.rows).requires_grad_(later);
    const auto edges = later ? edges_[index][c].detach().requires_grad_(true) : torch::Tensor();
    const auto [new_atoms, new_edges] = run(index, chunk, atoms, edges, vectors);
    variable_list results{new_atoms};
    variable_list given{by_atoms};
    if (by_edges.defined()) {
      results.push_back(new_edges);
      given.push_back(by_edges);
    }
    variable_list wanted{vectors};
    if (later) wanted.insert(wanted.end(), {atoms, edges});
    return torch::autograd::grad(results, wanted, given);
  }

  const Problem &problem_;
  Model &model_;
  int64_t num_blocks_;
  std::vector<Chunk> chunks_;
  std::vector<torch::Tensor> atoms_;               // features of all rows that a block begins with
  std::vector<std::vector<torch::Tensor>> edges_;  // of each chunk's edges
};

}  // namespace

Evaluation evaluate_chunked(const Problem &problem) {
  Sweep sweep(problem);
  auto features = sweep.forward().requires_grad_(true);
  torch::Tensor energies;
  torch::Tensor back;
  {
    const torch::AutoGradMode record(true);
    const Profile::Section section(problem.profile, Profile::forward);
    const auto species = problem.tables.species.slice(0, 0, problem.tables.num_owned).to(problem.model.device());
    energies = problem.model.finish(features, species, problem.state);
    back = torch::autograd::grad({energies.sum()}, {features})[0];
  }
  auto gradients = sweep.backward(back);
  for (auto &gradient : gradients) gradient = gradient.to(torch::kCPU);
  return {energies.detach().to(torch::kCPU), std::move(gradients)};
}

}  // namespace janus
