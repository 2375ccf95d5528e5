#include "model.h"

#include "agreement.h"

#include <torch/csrc/jit/python/update_graph_executor_opt.h>

#include <array>
#include <map>
#include <sstream>
#include <unordered_map>

namespace janus {
namespace {

constexpr const char *kManifestEntry = "manifest.json";

// Reference energies (thousands of eV) stay in float64 whatever the model's type, as in Python.
constexpr const char *kExactBuffer = "references.table";

bool ends_with(const std::string &text, const std::string &end) { return text.ends_with(end); }

// CRC-32 of zlib and of Python's zlib.crc32.
uint32_t crc32(const uint8_t *bytes, size_t count, uint32_t checksum) {
  static const auto table = [] {
    std::array<uint32_t, 256> entries{};
    for (uint32_t i = 0; i < 256; ++i) {
      entries[i] = i;
      for (int bit = 0; bit < 8; ++bit) entries[i] = (entries[i] >> 1) ^ ((entries[i] & 1) ? 0xEDB88320u : 0u);
    }
    return entries;
  }();
  checksum = ~checksum;
  for (size_t i = 0; i < count; ++i) checksum = table[(checksum ^ bytes[i]) & 0xFF] ^ (checksum >> 8);
  return ~checksum;
}

uint32_t weights_crc32(const torch::jit::Module &module) {
  std::map<std::string, torch::Tensor> weights;
  for (const auto &parameter : module.named_parameters()) weights[parameter.name] = parameter.value;
  for (const auto &buffer : module.named_buffers()) weights[buffer.name] = buffer.value;
  uint32_t checksum = 0;
  for (const auto &[name, value] : weights) {
    const auto bytes = value.contiguous();
    checksum = crc32(static_cast<const uint8_t *>(bytes.data_ptr()), bytes.nbytes(), checksum);
  }
  return checksum;
}

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
  if (weights_crc32(module_) != manifest_.weights_crc32)
    throw UserError("the weights in " + path + " are damaged: copy or export the file again");
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
  // Each atom has one row, so the rows have no list of owners.
  const std::vector<torch::Tensor> owners(neighbours.size(), torch::empty({0}, species.options()));
  const auto result =
      module_.get_method("start")({species, graph_of(species), neighbours, owners, vectors, line_counts, state.task,
                                   state.charge, state.spin, state.composition});
  const auto &parts = result.toTupleRef().elements();
  Start start{parts[0].toTensor(), parts[1].toTensorVector(), {}};
  for (const auto &context : parts[2].toListRef()) start.contexts.push_back(context.toTensorVector());
  return start;
}

torch::Tensor Model::embed(const torch::Tensor &species, const SystemState &state) {
  auto embedding = module_.attr("embedding").toModule();
  return embedding.forward({species, graph_of(species), state.task, state.charge, state.spin, state.composition})
      .toTensor();
}

std::tuple<torch::Tensor, std::vector<torch::Tensor>> Model::geometry(const torch::Tensor &vectors,
                                                                      const torch::Tensor &neighbours,
                                                                      const torch::Tensor &centre_species,
                                                                      const torch::Tensor &neighbour_species,
                                                                      int64_t line_count) {
  auto geometry = module_.attr("geometry").toModule();
  const auto owners = torch::empty({0}, centre_species.options());  // each atom has one row
  const auto result =
      geometry.forward({vectors.to(dtype_), neighbours, owners, centre_species, neighbour_species, line_count});
  const auto &parts = result.toTupleRef().elements();
  return {parts[0].toTensor(), parts[1].toTensorVector()};
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
