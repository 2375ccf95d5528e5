#include "options.h"

#include "agreement.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace janus {
namespace {

constexpr std::array<std::string_view, 8> KEYWORDS = {"device", "precision", "task",   "charge",
                                                      "spin",   "chunk",     "memory", "profile"};

// Letters that two words share in order.
size_t shared(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1, 0);
  for (const char letter : a) {
    size_t diagonal = 0;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t above = row[j + 1];
      row[j + 1] = letter == b[j] ? diagonal + 1 : std::max(above, row[j]);
      diagonal = above;
    }
  }
  return row.back();
}

// The keyword that is meant if one is near, all of them if none is.
std::string hint(const std::string &word) {
  double best = 0.6;  // of the letters of both; as for unknown names elsewhere in Janus-MD
  std::string_view nearest;
  std::string known;
  for (const auto keyword : KEYWORDS) {
    const double likeness = 2.0 * shared(word, keyword) / (word.size() + keyword.size());
    if (likeness >= best) {
      best = likeness;
      nearest = keyword;
    }
    known += (known.empty() ? "" : ", ") + std::string(keyword);
  }
  if (!nearest.empty()) return " (did you mean '" + std::string(nearest) + "'?)";
  return " (known: " + known + ")";
}

double number(const std::string &keyword, const std::string &text, const std::string &unit) {
  char *end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !std::isfinite(value))
    throw UserError("pair_style janus: " + keyword + " '" + text + "' is not a number: give " + unit);
  return value;
}

int chunk(const std::string &text) {
  int value = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (fault != std::errc() || end != text.data() + text.size() || value < 1)
    throw UserError("pair_style janus: chunk '" + text + "' is not a number of atoms: give 1 or more");
  return value;
}

double gigabytes(const std::string &keyword, const std::string &text) {
  const double value = number(keyword, text, "GB");
  if (value < 0.0) throw UserError("pair_style janus: " + keyword + " '" + text + "' must not be negative: give GB");
  return value;
}

bool yes(const std::string &keyword, const std::string &text) {
  if (text == "yes" || text == "no") return text == "yes";
  throw UserError("pair_style janus: " + keyword + " '" + text + "' is unknown: give yes or no");
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
    if (std::find(KEYWORDS.begin(), KEYWORDS.end(), keyword) == KEYWORDS.end())
      throw UserError("pair_style janus: keyword '" + keyword + "' is unknown" + hint(keyword));
    if (i + 1 == narg) throw UserError("pair_style janus: " + keyword + " needs a value");
    const std::string value = arg[i + 1];
    if (keyword == "device")
      options.device = device(value);
    else if (keyword == "precision")
      options.precision = precision(value);
    else if (keyword == "task")
      options.task = value;
    else if (keyword == "charge")
      options.charge = number(keyword, value, "elementary charges");
    else if (keyword == "spin")
      options.spin = number(keyword, value, "the multiplicity 2S + 1");
    else if (keyword == "chunk")
      options.chunk = chunk(value);
    else if (keyword == "memory")
      options.memory = gigabytes(keyword, value);
    else
      options.profile = yes(keyword, value);
  }
  if (options.chunk && options.memory)
    throw UserError("pair_style janus: chunk evaluates in chunks whatever the memory: give chunk or memory, not both");
  return options;
}

}  // namespace janus
