#include "halo.h"

#include <cstring>

namespace janus {
namespace {

// The exchange as a differentiable function.
struct Extend : torch::autograd::Function<Extend> {
  static torch::Tensor forward(torch::autograd::AutogradContext *context, const torch::Tensor &owned, int64_t halo) {
    context->saved_data["halo"] = halo;
    return reinterpret_cast<Halo *>(halo)->forward(owned);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 const torch::autograd::variable_list &gradients) {
    auto *halo = reinterpret_cast<Halo *>(context->saved_data["halo"].toInt());
    return {halo->backward(gradients[0]), torch::Tensor()};
  }
};

torch::Tensor indices(const std::vector<int> &atoms, int64_t begin, int64_t end) {
  auto result = torch::empty({end - begin}, torch::kInt64);
  std::copy(atoms.begin() + begin, atoms.begin() + end, result.data_ptr<int64_t>());
  return result;
}

}  // namespace

Halo::Halo(const NeighbourTables &tables, int num_atoms, int64_t width, torch::ScalarType dtype,
           Communication to_ghosts, Communication to_owners, Profile &profile)
    : owned_(indices(tables.atoms, 0, tables.num_owned)),
      ghosts_(indices(tables.atoms, tables.num_owned, static_cast<int64_t>(tables.atoms.size()))),
      buffer_(torch::zeros({num_atoms, width}, dtype)),
      data_(static_cast<std::byte *>(buffer_.data_ptr())),
      row_bytes_(width * c10::elementSize(dtype)),
      doubles_(doubles_per_atom(width, dtype)),
      to_ghosts_(std::move(to_ghosts)),
      to_owners_(std::move(to_owners)),
      profile_(profile) {}

torch::Tensor Halo::extend(const torch::Tensor &owned) {
  return Extend::apply(owned, reinterpret_cast<int64_t>(this));
}

// Copies to and from the CPU wait for the device, so MPI never sees unfinished work.
torch::Tensor Halo::forward(const torch::Tensor &owned) {
  const Profile::Section section(profile_, Profile::exchange);
  buffer_.index_copy_(0, owned_, owned.detach().to(torch::kCPU));
  to_ghosts_(static_cast<int>(doubles_));
  return torch::cat({owned, buffer_.index_select(0, ghosts_).to(owned.device())});
}

torch::Tensor Halo::backward(const torch::Tensor &all) {
  const Profile::Section section(profile_, Profile::exchange);
  buffer_.zero_();
  buffer_.index_copy_(0, ghosts_, all.slice(0, owned_.size(0)).to(torch::kCPU));
  to_owners_(static_cast<int>(doubles_));
  return all.slice(0, 0, owned_.size(0)) + buffer_.index_select(0, owned_).to(all.device());
}

int Halo::doubles_per_atom(int64_t width, torch::ScalarType dtype) {
  return static_cast<int>((width * c10::elementSize(dtype) + sizeof(double) - 1) / sizeof(double));
}

int Halo::sent(int count) {
  const auto doubles = count * doubles_;
  profile_.count_sent(static_cast<int64_t>(doubles * sizeof(double)));
  return static_cast<int>(doubles);
}

int Halo::pack(int count, const int *atoms, double *buffer) {
  for (int i = 0; i < count; ++i) std::memcpy(buffer + i * doubles_, row(atoms[i]), row_bytes_);
  return sent(count);
}

void Halo::unpack(int count, int first, const double *buffer) {
  for (int i = 0; i < count; ++i) std::memcpy(row(first + i), buffer + i * doubles_, row_bytes_);
}

int Halo::pack_reverse(int count, int first, double *buffer) {
  for (int i = 0; i < count; ++i) std::memcpy(buffer + i * doubles_, row(first + i), row_bytes_);
  return sent(count);
}

void Halo::unpack_reverse(int count, const int *atoms, const double *buffer) {
  if (buffer_.scalar_type() == torch::kFloat32)
    add<float>(count, atoms, buffer);
  else
    add<double>(count, atoms, buffer);
}

template <typename T>
void Halo::add(int count, const int *atoms, const double *buffer) {
  const size_t width = row_bytes_ / sizeof(T);
  for (int i = 0; i < count; ++i) {
    auto *target = reinterpret_cast<T *>(row(atoms[i]));
    const auto *source = reinterpret_cast<const T *>(buffer + i * doubles_);
    for (size_t k = 0; k < width; ++k) target[k] += source[k];
  }
}

}  // namespace janus
