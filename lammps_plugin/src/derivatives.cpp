#include "derivatives.h"

#include "recompute.h"

#include <c10/core/AutogradState.h>
#include <torch/csrc/autograd/autograd.h>

namespace janus {
namespace {

// Bytes; as for the ASE calculator. Below it memory is no concern and time is.
constexpr int64_t kRecomputeAbove = int64_t{512} << 20;

// While it lives, backward passes run on the calling thread: only it may use MPI.
class OneThreadBackward {
 public:
  OneThreadBackward() : before_(c10::AutogradState::get_tls_state().get_multithreading_enabled()) { set(false); }
  ~OneThreadBackward() { set(before_); }
  OneThreadBackward(const OneThreadBackward &) = delete;
  OneThreadBackward &operator=(const OneThreadBackward &) = delete;

 private:
  static void set(bool enabled) { c10::AutogradState::get_tls_state().set_multithreading_enabled(enabled); }
  bool before_;
};

// A rank without atoms still passes features and gradients between its neighbours' ranks.
Evaluation pass_on(const Model &model, Halo &halo) {
  const auto none = torch::zeros({0, model.manifest().feature_width}, model.dtype());
  const int64_t exchanges = model.manifest().num_blocks - 1;
  for (int64_t i = 0; i < exchanges; ++i) halo.forward(none);
  for (int64_t i = 0; i < exchanges; ++i) halo.backward(none);
  return {torch::zeros({0}, torch::kFloat64), {}};
}

std::vector<torch::Tensor> on_device(const std::vector<torch::Tensor> &tensors, torch::Device device) {
  std::vector<torch::Tensor> moved;
  for (const auto &tensor : tensors) moved.push_back(tensor.to(device));
  return moved;
}

// Bytes that a backward pass keeps unless blocks are computed again.
int64_t activations(const Model &model, const NeighbourTables &tables) {
  int64_t slots = 0;
  for (const auto &table : tables.neighbours) slots += table.numel();
  return slots * model.floats_per_edge() * static_cast<int64_t>(c10::elementSize(model.dtype()));
}

torch::Tensor energies_of(Model &model, const NeighbourTables &tables, const std::vector<torch::Tensor> &vectors,
                          Halo &halo, const SystemState &state) {
  const auto species = tables.species.to(model.device());
  const auto neighbours = on_device(tables.neighbours, model.device());
  const bool again = activations(model, tables) > kRecomputeAbove;
  auto [features, edges, contexts] = model.start(species, neighbours, vectors, tables.line_counts, state);
  for (int64_t index = 0; index < model.manifest().num_blocks; ++index) {
    if (index > 0) features = halo.extend(features);
    std::vector<torch::Tensor> updated(edges.size());
    int64_t first = 0;
    for (size_t b = 0; b < edges.size(); ++b) {
      std::tie(updated[b], edges[b]) = again ? recomputed_bucket(model, index, first, features, edges[b], contexts[b])
                                             : model.bucket(index, first, features, edges[b], contexts[b]);
      first += updated[b].size(0);
    }
    features = torch::cat(updated);
  }
  return model.finish(features, species.slice(0, 0, tables.num_owned), state);
}

}  // namespace

Evaluation evaluate(Model &model, const NeighbourTables &tables, Halo &halo, const SystemState &state) {
  if (tables.num_owned == 0) return pass_on(model, halo);
  const OneThreadBackward one_thread;
  const torch::AutoGradMode record(true);
  auto vectors = on_device(tables.vectors, model.device());
  for (auto &vector : vectors) vector = vector.detach().requires_grad_(true);
  const auto energies = energies_of(model, tables, vectors, halo, state);
  const auto gradients = torch::autograd::grad({energies.sum()}, vectors);
  return {energies.detach().to(torch::kCPU), on_device(gradients, torch::kCPU)};
}

}  // namespace janus
