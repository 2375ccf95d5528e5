// LAMMPS's neighbour lists as the padded tables the model reads.
#pragma once

#include <torch/script.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace janus {

// What this rank holds, as LAMMPS keeps it. Lengths in Å.
struct LocalAtoms {
  const double *const *positions;  // owned atoms, then ghosts
  const int *types;
  int num_atoms;                        // owned and ghosts
  std::vector<int> species_of_type;     // [types + 1]; -1: another style's
  const int *groups;                    // of each atom, a bit for each
  int excluded_groups;                  // whose atoms LAMMPS keeps from interacting with any
  int num_centres;                      // atoms with a neighbour list
  const int *centres;
  const int *num_neighbours;
  const int *const *neighbours;         // of all atoms within cutoff + skin
  std::function<std::string(int)> name;  // of an atom, for messages: "atom 12 (Si)"

  // Whether an atom exists for the model.
  bool seen(int atom) const { return species_of_type[types[atom]] >= 0 && (groups[atom] & excluded_groups) == 0; }
};

// Rows: owned atoms bucket by bucket, each bucket sorted by species; then the ghosts that appear as neighbours.
struct NeighbourTables {
  std::vector<int> atoms;               // LAMMPS's index of each row
  int64_t num_owned = 0;
  std::vector<int> num_edges;           // used slots of each owned row
  torch::Tensor species;                // int64 [rows]
  std::vector<torch::Tensor> neighbours;  // rows, int64 [n_b, K_b]
  std::vector<torch::Tensor> vectors;     // Å, nearest first, float64 [n_b, K_b, 3]
  std::vector<int64_t> line_counts;       // slots that may be within the line cutoff

  // Atoms in the largest bucket.
  int64_t largest_bucket() const;
};

// Builds the tables of one model step by step in the same memory, which only grows.
class TableBuilder {
 public:
  TableBuilder();
  ~TableBuilder();

  // The tables hold until the next call. `chunk` bounds the atoms of a bucket. Throws UserError if two atoms coincide.
  const NeighbourTables &build(const LocalAtoms &local, double cutoff, double line_cutoff, bool on_gpu,
                               std::optional<int> chunk);

 private:
  struct Memory;
  std::unique_ptr<Memory> memory_;
};

}  // namespace janus
