#include "potential.h"

#include "agreement.h"

#include <algorithm>

namespace janus {

Potential::Potential(const std::string &bytes, const std::string &path, torch::Device device, const Options &options,
                     const std::vector<std::string> &symbols)
    : path_(path), options_(options), model_(bytes, path, device, options.precision) {
  map_types(symbols);
  check_options();
}

void Potential::map_types(const std::vector<std::string> &symbols) {
  species_of_type_.assign(1, -1);
  for (const auto &symbol : symbols) {
    species_of_type_.push_back(symbol == "NULL" ? -1 : manifest().species(symbol));
    if (symbol != "NULL" && species_of_type_.back() < 0)
      throw UserError(path_ + " does not know the element " + symbol + " of atom type " +
                      std::to_string(species_of_type_.size() - 1) + ": it was made for " + join(manifest().elements) +
                      "; name one of these in pair_coeff, or use a model trained, and exported, with " + symbol);
  }
  if (std::all_of(symbols.begin(), symbols.end(), [](const std::string &symbol) { return symbol == "NULL"; }))
    throw UserError("pair_coeff for " + path_ + " leaves every atom type to others: name an element");
}

void Potential::check_options() const {
  if (options_.charge && !manifest().uses_charge)
    throw UserError("pair_style janus gives a charge, but " + path_ + " does not use one: leave it out");
  if (options_.spin && !manifest().uses_spin)
    throw UserError("pair_style janus gives a spin, but " + path_ + " does not use one: leave it out");
  const auto &tasks = manifest().tasks;
  if (!options_.task && tasks.size() > 1)
    throw UserError(path_ + " holds the tasks " + join(tasks) + ": choose one with 'pair_style janus task NAME'");
  if (options_.task && std::find(tasks.begin(), tasks.end(), *options_.task) == tasks.end())
    throw UserError(path_ + " has no task '" + *options_.task + "' (known: " + join(tasks) +
                    "): give one of these after 'task'");
}

SystemState Potential::state(const NeighbourTables &tables, MPI_Comm world) const {
  const auto number = torch::TensorOptions().dtype(torch::kFloat64);
  const auto &tasks = manifest().tasks;
  const auto task = options_.task ? std::find(tasks.begin(), tasks.end(), *options_.task) - tasks.begin() : 0;
  std::vector<double> counts(manifest().elements.size(), 0.0);
  if (manifest().uses_composition) {
    const auto *species = tables.species.data_ptr<int64_t>();
    for (int64_t row = 0; row < tables.num_owned; ++row) counts[species[row]] += 1.0;
    MPI_Allreduce(MPI_IN_PLACE, counts.data(), static_cast<int>(counts.size()), MPI_DOUBLE, MPI_SUM, world);
  }
  const auto composition = torch::tensor(counts, number).unsqueeze(0);
  const auto device = model_.device();
  return {torch::full({1}, static_cast<int64_t>(task), torch::kInt64).to(device),
          torch::full({1}, options_.charge.value_or(0.0), number).to(device),
          torch::full({1}, options_.spin.value_or(0.0), number).to(device),
          (composition / composition.sum().clamp_min(1.0)).to(device)};
}

}  // namespace janus
