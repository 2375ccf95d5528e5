// What a model file says of itself: the JSON written by `janus-md export`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace janus {

struct Manifest {
  double cutoff = 0;       // Å
  double line_cutoff = 0;  // Å
  std::vector<std::string> elements;
  std::vector<std::string> tasks;
  std::string dtype;  // "float32" or "float64"
  int64_t num_blocks = 0;
  uint32_t weights_crc32 = 0;  // of all parameters and buffers, in the order of their names
  int64_t feature_width = 0;  // numbers an atom sends in an exchange
  bool uses_charge = false;
  bool uses_spin = false;
  bool uses_composition = false;

  // Index of `symbol` in elements, or -1.
  int species(const std::string &symbol) const;
};

// Throws UserError for a file of another kind, a newer format, or one that needs a newer plugin.
Manifest parse_manifest(const std::string &json, const std::string &path);

// "Si O" from {"Si", "O"}.
std::string join(const std::vector<std::string> &words);

}  // namespace janus
