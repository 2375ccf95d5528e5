#include "faults.h"

#include <array>

namespace janus {

std::string reason_of(const std::string &what) {
  static const std::string kAfterTrace = "\nRuntimeError: ";
  const auto trace = what.rfind(kAfterTrace);
  const auto begin = trace == std::string::npos ? 0 : trace + kAfterTrace.size();
  return what.substr(begin, what.find('\n', begin) - begin);
}

bool is_out_of_memory(const std::string &what) {
  constexpr std::array kRefusals = {"out of memory", "can't allocate memory", "not enough memory"};
  for (const auto *words : kRefusals)
    if (what.find(words) != std::string::npos) return true;
  return false;
}

}  // namespace janus
