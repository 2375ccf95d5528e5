#include "recompute.h"

#include <torch/csrc/autograd/autograd.h>

namespace janus {
namespace {

using torch::autograd::variable_list;

// Inputs are the features of atoms, those of edges, and the context.
variable_list call(Model &model, int64_t index, int64_t first, torch::TensorList inputs) {
  const std::vector<torch::Tensor> context(inputs.begin() + 2, inputs.end());
  auto [atoms, edges] = model.bucket(index, first, inputs[0], inputs[1], context);
  return {atoms, edges};
}

struct Recomputed : torch::autograd::Function<Recomputed> {
  static variable_list forward(torch::autograd::AutogradContext *context, int64_t model, int64_t index, int64_t first,
                               torch::TensorList inputs) {
    context->saved_data["model"] = model;
    context->saved_data["index"] = index;
    context->saved_data["first"] = first;
    context->save_for_backward(inputs.vec());
    return call(*reinterpret_cast<Model *>(model), index, first, inputs);
  }

  static variable_list backward(torch::autograd::AutogradContext *context, const variable_list &gradients) {
    const torch::AutoGradMode record(true);
    variable_list inputs;
    variable_list wanted;
    for (const auto &saved : context->get_saved_variables()) {
      inputs.push_back(saved.detach().requires_grad_(saved.requires_grad()));
      if (saved.requires_grad()) wanted.push_back(inputs.back());
    }
    const auto outputs = call(*reinterpret_cast<Model *>(context->saved_data["model"].toInt()),
                              context->saved_data["index"].toInt(), context->saved_data["first"].toInt(), inputs);
    const auto found = torch::autograd::grad(outputs, wanted, gradients, false, false, true);
    variable_list result(3);  // of model, index, first
    auto next = found.begin();
    for (const auto &input : inputs) result.push_back(input.requires_grad() ? *next++ : torch::Tensor());
    return result;
  }
};

}  // namespace

std::tuple<torch::Tensor, torch::Tensor> recomputed_bucket(Model &model, int64_t index, int64_t first,
                                                           const torch::Tensor &features, const torch::Tensor &edges,
                                                           const std::vector<torch::Tensor> &context) {
  variable_list inputs{features, edges};
  inputs.insert(inputs.end(), context.begin(), context.end());
  const auto result = Recomputed::apply(reinterpret_cast<int64_t>(&model), index, first, torch::TensorList(inputs));
  return {result[0], result[1]};
}

}  // namespace janus
