#include "whole.h"

#include <torch/csrc/autograd/autograd.h>

namespace janus {
namespace {

std::vector<torch::Tensor> moved(const std::vector<torch::Tensor> &tensors, torch::Device device) {
  std::vector<torch::Tensor> result;
  for (const auto &tensor : tensors) result.push_back(tensor.to(device));
  return result;
}

Start start(const Problem &problem, const torch::Tensor &species, const std::vector<torch::Tensor> &vectors) {
  const Profile::Section section(problem.profile, Profile::line_graph);
  const auto neighbours = moved(problem.tables.neighbours, problem.model.device());
  return problem.model.start(species, neighbours, vectors, problem.tables.line_counts, problem.state);
}

torch::Tensor energies_of(const Problem &problem, const std::vector<torch::Tensor> &vectors) {
  auto &model = problem.model;
  const auto species = problem.tables.species.to(model.device());
  auto [features, edges, contexts] = start(problem, species, vectors);
  const Profile::Section section(problem.profile, Profile::forward);
  for (int64_t index = 0; index < model.manifest().num_blocks; ++index) {
    if (index > 0) features = problem.halo.extend(features);
    std::vector<torch::Tensor> updated(edges.size());
    int64_t first = 0;
    for (size_t b = 0; b < edges.size(); ++b) {
      std::tie(updated[b], edges[b]) = model.bucket(index, first, features, edges[b], contexts[b]);
      first += updated[b].size(0);
    }
    features = torch::cat(updated);
  }
  return model.finish(features, species.slice(0, 0, problem.tables.num_owned), problem.state);
}

}  // namespace

Evaluation evaluate_whole(const Problem &problem) {
  const torch::AutoGradMode record(true);
  auto vectors = moved(problem.tables.vectors, problem.model.device());
  for (auto &vector : vectors) vector = vector.detach().requires_grad_(true);
  const auto energies = energies_of(problem, vectors);
  const Profile::Section section(problem.profile, Profile::backward);
  const auto gradients = torch::autograd::grad({energies.sum()}, vectors);
  return {energies.detach().to(torch::kCPU), moved(gradients, torch::kCPU)};
}

}  // namespace janus
