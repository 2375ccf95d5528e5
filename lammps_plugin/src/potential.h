// A model and what the input script says of it: the element of each atom type, task, charge and spin.
#pragma once

#include "model.h"
#include "neighbour_tables.h"
#include "options.h"

#include <mpi.h>

#include <memory>
#include <string>
#include <vector>

namespace janus {

class Potential {
 public:
  // `symbols`: an element or NULL for each atom type. Throws UserError for what does not fit the model.
  Potential(const std::string &bytes, const std::string &path, torch::Device device, const Options &options,
            const std::vector<std::string> &symbols);

  const std::string &path() const { return path_; }
  Model &model() { return model_; }
  const Model &model() const { return model_; }
  const Manifest &manifest() const { return model_.manifest(); }
  TableBuilder &tables() { return tables_; }
  const std::vector<int> &species_of_type() const { return species_of_type_; }

  // Symbol of an atom type that is not NULL.
  const std::string &element(int type) const { return manifest().elements[species_of_type_[type]]; }

  // Of the atoms this potential sees, over all ranks (collective).
  SystemState state(const NeighbourTables &tables, MPI_Comm world) const;

 private:
  void map_types(const std::vector<std::string> &symbols);
  void check_options() const;

  std::string path_;
  Options options_;
  Model model_;
  TableBuilder tables_;  // of its own: an ensemble's models are compared while all tables are in use
  std::vector<int> species_of_type_;  // [types + 1]; -1: left to another style
};

}  // namespace janus
