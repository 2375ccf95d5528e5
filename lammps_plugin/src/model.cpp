#include "model.h"

#include "agreement.h"

#include <torch/csrc/jit/python/update_graph_executor_opt.h>

#include <sstream>
#include <unordered_map>

namespace janus {
namespace {

constexpr const char *kManifestEntry = "manifest.json";

// Reference energies (thousands of eV) stay in float64 whatever the model's type, as in Python.
constexpr const char *kExactBuffer = "references.table";

bool ends_with(const std::string &text, const std::string &end) { return text.ends_with(end); }

torch::Tensor graph_of(const torch::Tensor &species) { return torch::zeros_like(species); }

}  // namespace

Model::Model(const std::string &bytes, const std::string &path, torch::Device device,
             const std::optional<std::string> &precision)
    : device_(device) {
  std::unordered_map<std::string, std::string> extra{{kManifestEntry, ""}};
  try {
    std::istringstream stream(bytes);
    module_ = torch::jit::load(stream, torch::kCPU, extra);
  } catch (const std::exception &) {
    throw UserError(path +
                    " cannot be read: it is truncated, damaged or not an exported model; copy or export it again");
  }
  manifest_ = parse_manifest(extra[kManifestEntry], path);
  // Shapes change at every step: specialised or fused graphs would be compiled again and again.
  torch::jit::setGraphExecutorOptimize(false);
  module_.eval();
  const std::string wanted = precision.value_or(manifest_.dtype == "float64" ? "double" : "single");
  convert(wanted == "double" ? torch::kFloat64 : torch::kFloat32);
}

void Model::convert(torch::ScalarType dtype) {
  dtype_ = dtype;
  const auto move = [&](const std::string &name, torch::Tensor value) {
    const bool learnt = value.is_floating_point() && !ends_with(name, kExactBuffer);
    value.set_data(value.to(device_, learnt ? dtype : value.scalar_type()));
  };
  for (const auto &parameter : module_.named_parameters()) {
    parameter.value.set_requires_grad(false);
    move(parameter.name, parameter.value);
  }
  for (const auto &buffer : module_.named_buffers()) move(buffer.name, buffer.value);
}

Start Model::start(const torch::Tensor &species, const std::vector<torch::Tensor> &neighbours,
                   const std::vector<torch::Tensor> &vectors, const std::vector<int64_t> &line_counts,
                   const SystemState &state) {
  const auto result = module_.get_method("start")({species, graph_of(species), neighbours, vectors, line_counts,
                                                   state.task, state.charge, state.spin, state.composition});
  const auto &parts = result.toTupleRef().elements();
  Start start{parts[0].toTensor(), parts[1].toTensorVector(), {}};
  for (const auto &context : parts[2].toListRef()) start.contexts.push_back(context.toTensorVector());
  return start;
}

std::tuple<torch::Tensor, torch::Tensor> Model::bucket(int64_t index, int64_t first, const torch::Tensor &features,
                                                       const torch::Tensor &edges,
                                                       const std::vector<torch::Tensor> &context) {
  const auto result = module_.get_method("bucket")({index, first, features, edges, context});
  const auto &parts = result.toTupleRef().elements();
  return {parts[0].toTensor(), parts[1].toTensor()};
}

torch::Tensor Model::finish(const torch::Tensor &features, const torch::Tensor &species, const SystemState &state) {
  return module_.get_method("finish")({features, species, graph_of(species), state.task}).toTensor();
}

}  // namespace janus
