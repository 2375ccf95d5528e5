// What stands after `pair_style janus`.
#pragma once

#include <optional>
#include <string>

namespace janus {

struct Options {
  enum class Device { automatic, cpu, cuda };
  Device device = Device::automatic;
  std::optional<std::string> precision;  // "single" or "double"; that of the file if not given
  std::optional<std::string> task;
  std::optional<double> charge;  // e, of the whole system
  std::optional<double> spin;    // multiplicity, of the whole system
  std::optional<int> chunk;      // atoms evaluated at a time, at most; as memory and caches suggest if not given
  std::optional<double> memory;  // GB that a rank may keep for its backward pass
  bool profile = false;          // print where the time went after each run

  // Bytes that a rank may keep for its backward pass: none where the atoms evaluated at a time are given.
  double kept() const { return chunk ? 0.0 : 1e9 * memory.value_or(0.5); }
};

// Throws UserError for an unknown keyword or value.
Options parse_options(int narg, char **arg);

}  // namespace janus
