#include "manifest.h"

#include "agreement.h"

#include "json.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace janus {
namespace {

constexpr int kFormatVersion = 2;

using LAMMPS_NS::json;

std::array<int, 3> version_numbers(const std::string &text) {
  std::array<int, 3> numbers{};
  std::sscanf(text.c_str(), "%d.%d.%d", &numbers[0], &numbers[1], &numbers[2]);
  return numbers;
}

void check_versions(const json &content, const std::string &path) {
  const int format = content.at("format_version").get<int>();
  if (format > kFormatVersion)
    throw UserError(path + " has format version " + std::to_string(format) + ", this plugin reads " +
                    std::to_string(kFormatVersion) + ": update janus-md and run 'janus-md lammps build'");
  if (format < kFormatVersion)
    throw UserError(path + " has format version " + std::to_string(format) + ", this plugin reads " +
                    std::to_string(kFormatVersion) + ": export the model again");
  const auto minimum = content.at("minimum_plugin_version").get<std::string>();
  if (version_numbers(minimum) > version_numbers(JANUS_PLUGIN_VERSION))
    throw UserError(path + " needs the Janus plugin " + minimum + " or newer, this is " JANUS_PLUGIN_VERSION
                           ": update janus-md and run 'janus-md lammps build'");
  const auto engine = content.at("engine").get<std::string>();
  if (engine != "torchscript")
    throw UserError(path + " is for the engine '" + engine + "', this plugin runs torchscript: export it again");
}

}  // namespace

int Manifest::species(const std::string &symbol) const {
  const auto found = std::find(elements.begin(), elements.end(), symbol);
  return found == elements.end() ? -1 : static_cast<int>(found - elements.begin());
}

Manifest parse_manifest(const std::string &text, const std::string &path) {
  if (text.empty()) throw UserError(path + " is not a Janus-MD model: export one with 'janus-md export'");
  try {
    const json content = json::parse(text);
    check_versions(content, path);
    Manifest manifest;
    content.at("cutoff").get_to(manifest.cutoff);
    content.at("line_cutoff").get_to(manifest.line_cutoff);
    content.at("elements").get_to(manifest.elements);
    content.at("tasks").get_to(manifest.tasks);
    content.at("dtype").get_to(manifest.dtype);
    content.at("num_blocks").get_to(manifest.num_blocks);
    content.at("feature_width").get_to(manifest.feature_width);
    content.at("weights_crc32").get_to(manifest.weights_crc32);
    content.at("uses_charge").get_to(manifest.uses_charge);
    content.at("uses_spin").get_to(manifest.uses_spin);
    content.at("uses_composition").get_to(manifest.uses_composition);
    return manifest;
  } catch (const json::exception &) {
    throw UserError(path + " holds a damaged manifest: export the model again");
  }
}

std::string join(const std::vector<std::string> &words) {
  std::string text;
  for (const auto &word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

}  // namespace janus
