#include "options.h"

#include "agreement.h"

#include <cmath>
#include <cstdlib>

namespace janus {
namespace {

double number(const std::string &keyword, const std::string &text) {
  char *end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !std::isfinite(value))
    throw UserError("pair_style janus: " + keyword + " '" + text + "' is not a number");
  return value;
}

Options::Device device(const std::string &text) {
  if (text == "auto") return Options::Device::automatic;
  if (text == "cpu") return Options::Device::cpu;
  if (text == "cuda") return Options::Device::cuda;
  throw UserError("pair_style janus: device '" + text + "' is unknown: give cpu, cuda or auto");
}

std::string precision(const std::string &text) {
  if (text == "single" || text == "double") return text;
  throw UserError("pair_style janus: precision '" + text + "' is unknown: give single or double");
}

}  // namespace

Options parse_options(int narg, char **arg) {
  Options options;
  for (int i = 0; i < narg; i += 2) {
    const std::string keyword = arg[i];
    if (i + 1 == narg) throw UserError("pair_style janus: " + keyword + " needs a value");
    const std::string value = arg[i + 1];
    if (keyword == "device")
      options.device = device(value);
    else if (keyword == "precision")
      options.precision = precision(value);
    else if (keyword == "task")
      options.task = value;
    else if (keyword == "charge")
      options.charge = number(keyword, value);
    else if (keyword == "spin")
      options.spin = number(keyword, value);
    else
      throw UserError("pair_style janus: keyword '" + keyword +
                      "' is unknown (known: device, precision, task, charge, spin)");
  }
  return options;
}

}  // namespace janus
