#include "chunked.h"

#include <torch/csrc/autograd/autograd.h>

#include <numeric>
#include <utility>

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

// One block on one chunk, with what its backward pass needs.
struct Run {
  variable_list inputs;  // vectors and, after the first block, features of the rows read and of the edges
  torch::Tensor atoms;
  torch::Tensor edges;
};

class Sweep {
 public:
  Sweep(const Problem &problem, double kept)
      : problem_(problem),
        model_(problem.model),
        last_(model_.manifest().num_blocks - 1),
        atoms_(last_ + 1),
        edges_(last_ + 1),
        runs_(last_ + 1) {
    const Profile::Section section(problem.profile, Profile::edges);
    std::vector<int64_t> place(problem.tables.atoms.size(), -1);
    int64_t first = 0;
    for (size_t bucket = 0; bucket < problem.tables.neighbours.size(); ++bucket) {
      chunks_.push_back(chunk_of(problem.tables, bucket, first, place, model_.device()));
      first += chunks_.back().size;
    }
    gradients_.resize(chunks_.size());
    by_edges_.resize(chunks_.size());
    // Blocks that are kept: those before the last, which the backward pass lets go of first.
    kept_.assign(last_ + 1, std::vector<bool>(chunks_.size(), false));
    for (int64_t index = last_ - 1; index >= 0; --index)
      for (size_t c = 0; c < chunks_.size(); ++c) {
        kept -= static_cast<double>(model_.kept_bytes(chunks_[c].neighbours.numel())) / (last_ + 1);
        kept_[index][c] = kept >= 0.0;
      }
  }

  Evaluation operator()() {
    forward();
    auto energies = energies_of_last_block();
    backward();
    for (auto &gradient : gradients_) gradient = gradient.to(torch::kCPU);
    return {std::move(energies), std::move(gradients_)};
  }

 private:
  // All blocks but the last. Fills atoms_ and edges_, the features that each block begins with.
  void forward() {
    const Profile::Section section(problem_.profile, Profile::forward);
    const torch::NoGradGuard plain;
    atoms_[0] = model_.embed(problem_.tables.species.to(model_.device()), problem_.state);
    for (int64_t index = 0; index < last_; ++index) {
      std::vector<torch::Tensor> updated;
      for (size_t c = 0; c < chunks_.size(); ++c) {
        auto done = run(index, c, kept_[index][c]);
        updated.push_back(done.atoms.detach());
        edges_[index + 1].push_back(done.edges.detach());
        runs_[index].push_back(kept_[index][c] ? std::move(done) : Run());
      }
      atoms_[index + 1] = problem_.halo.forward(torch::cat(updated));
    }
  }

  // An atom's energy follows from its final features, so a chunk of the last block goes forward and back at once.
  torch::Tensor energies_of_last_block() {
    std::vector<torch::Tensor> energies;
    begin_gradients(last_);
    for (size_t c = 0; c < chunks_.size(); ++c) {
      const torch::AutoGradMode record(true);
      Run done;
      torch::Tensor own;
      {
        const Profile::Section section(problem_.profile, Profile::forward);
        done = run(last_, c, true);
        own = model_.finish(done.atoms, chunks_[c].centre_species, problem_.state);
      }
      const Profile::Section section(problem_.profile, Profile::backward);
      add_gradients(last_, c, torch::autograd::grad({own.sum()}, done.inputs));
      energies.push_back(own.detach().to(torch::kCPU));
    }
    end_gradients(last_);
    return torch::cat(energies);
  }

  void backward() {
    const Profile::Section section(problem_.profile, Profile::backward);
    for (int64_t index = last_ - 1; index >= 0; --index) {
      begin_gradients(index);
      for (size_t c = 0; c < chunks_.size(); ++c) {
        const auto own = back_.slice(0, chunks_[c].first, chunks_[c].first + chunks_[c].size);
        const auto done = kept_[index][c] ? std::exchange(runs_[index][c], Run()) : run(index, c, true);
        add_gradients(index, c, torch::autograd::grad({done.atoms, done.edges}, done.inputs, {own, by_edges_[c]}));
      }
      end_gradients(index);
    }
  }

  // The first block's edges follow from the vectors.
  Run run(int64_t index, size_t c, bool keep) {
    const torch::AutoGradMode record(keep);
    const auto &chunk = chunks_[c];
    const bool later = index > 0;
    const auto vectors = chunk.vectors.detach().requires_grad_(keep);
    const auto atoms = atoms_[index].index_select(0, chunk.rows).requires_grad_(keep && later);
    auto [edges, context] = [&] {
      const Profile::Section section(problem_.profile, Profile::line_graph);
      return model_.geometry(vectors, chunk.neighbours, chunk.centre_species, chunk.neighbour_species,
                             chunk.line_count);
    }();
    if (later) edges = edges_[index][c].detach().requires_grad_(keep);
    variable_list inputs{vectors};
    if (later) inputs.insert(inputs.end(), {atoms, edges});
    const auto [new_atoms, new_edges] = model_.bucket(index, 0, atoms, edges, context);
    return {std::move(inputs), new_atoms, new_edges};
  }

  void begin_gradients(int64_t index) {
    if (index > 0) all_ = torch::zeros_like(atoms_[index]);
  }

  // `found`: by the inputs of a run. Lets go of the chunk's features.
  void add_gradients(int64_t index, size_t c, const variable_list &found) {
    gradients_[c] = gradients_[c].defined() ? gradients_[c] + found[0] : found[0];
    if (index == 0) return;
    all_.index_add_(0, chunks_[c].rows, found[1]);
    by_edges_[c] = found[2];
    edges_[index][c] = torch::Tensor();
  }

  // Gradients by the features of atoms go home.
  void end_gradients(int64_t index) {
    atoms_[index] = torch::Tensor();
    if (index > 0) back_ = problem_.halo.backward(all_);
  }

  const Problem &problem_;
  Model &model_;
  int64_t last_;  // block
  std::vector<Chunk> chunks_;
  std::vector<std::vector<bool>> kept_;            // of blocks and chunks
  std::vector<torch::Tensor> atoms_;               // features of all rows that a block begins with
  std::vector<std::vector<torch::Tensor>> edges_;  // of each chunk's edges
  std::vector<std::vector<Run>> runs_;             // of blocks and chunks that are kept
  torch::Tensor all_;                              // gradient by the features of all rows, as it is summed
  torch::Tensor back_;                             // by those of this rank's atoms
  std::vector<torch::Tensor> by_edges_;            // of each chunk
  std::vector<torch::Tensor> gradients_;           // by each chunk's vectors
};

}  // namespace

Evaluation evaluate_chunked(const Problem &problem, double kept) { return Sweep(problem, kept)(); }

}  // namespace janus
