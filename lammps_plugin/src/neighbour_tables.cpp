#include "neighbour_tables.h"

#include "agreement.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

namespace janus {
namespace {

constexpr double kSmallestDistance = 0.2;  // Å; nuclei closer than this are a mistake in the input
constexpr double kFarAway = 1000.0;         // Å, the length of an unused slot's edge; beyond any cutoff
constexpr double kLargestPadding = 0.12;    // share of a bucket's work that may be padding ...
constexpr double kFreePadding = 4096;       // ... unless it is so little that another bucket costs more
constexpr double kLargestBucket = 3e5;      // work of a bucket whose features stay near the CPU's caches
constexpr double kLargestBucketGpu = 3e7;   // a GPU wants large products
constexpr size_t kStretch = 2048;           // atoms, several buckets' worth
constexpr size_t kStretchGpu = 65536;

constexpr int kListMask = 0x1FFFFFFF;  // LAMMPS keeps flags in the upper bits of a neighbour (NEIGHMASK)

struct Edge {
  double squared;
  int neighbour;  // LAMMPS's index
  double vector[3];
};

struct Centre {
  int atom;
  int species;
  int num_line;
  size_t first;  // of its edges
  int num_edges;

  // Work of a row grows with its edges and with the pairs of its line-graph edges.
  static double work(int edges, int line) { return 16.0 * edges + static_cast<double>(line) * line; }
  double work() const { return work(num_edges, num_line); }
};

struct Bucket {
  std::vector<Centre> centres;
  int width = 1;
  int line_width = 0;
};

[[noreturn]] void coincident(const LocalAtoms &local, int i, const Edge &edge) {
  char where[120];
  std::snprintf(where, sizeof where, " are %.3g Å apart, on top of each other, near (%.3f, %.3f, %.3f)",
                std::sqrt(edge.squared), local.positions[i][0], local.positions[i][1], local.positions[i][2]);
  throw UserError(local.name(i) + " and " + local.name(edge.neighbour) + where +
                  ": remove one of them or check the box");
}

// Appends the edges of atom i, nearest first.
Centre collect(const LocalAtoms &local, int index, double cutoff, double line_cutoff, std::vector<Edge> &edges) {
  const int i = local.centres[index];
  const double *here = local.positions[i];
  Centre centre{i, local.species_of_type[local.types[i]], 0, edges.size(), 0};
  for (int k = 0; k < local.num_neighbours[i]; ++k) {
    const int j = local.neighbours[i][k] & kListMask;
    if (local.species_of_type[local.types[j]] < 0) continue;
    const double *there = local.positions[j];
    Edge edge{0.0, j, {there[0] - here[0], there[1] - here[1], there[2] - here[2]}};
    for (const double x : edge.vector) edge.squared += x * x;
    if (edge.squared < cutoff * cutoff) edges.push_back(edge);
  }
  const auto begin = edges.begin() + static_cast<std::ptrdiff_t>(centre.first);
  std::sort(begin, edges.end(), [](const Edge &a, const Edge &b) { return a.squared < b.squared; });
  centre.num_edges = static_cast<int>(edges.end() - begin);
  if (centre.num_edges > 0 && begin->squared < kSmallestDistance * kSmallestDistance) coincident(local, i, *begin);
  centre.num_line = static_cast<int>(
      std::count_if(begin, edges.end(), [&](const Edge &e) { return e.squared < line_cutoff * line_cutoff; }));
  return centre;
}

struct Bounds {
  double work;   // of a bucket
  size_t atoms;  // in a bucket
  size_t stretch;
};

// Rows of similar work together: little padding, and no bucket beyond `bounds`. Appends to `buckets`.
void split(std::vector<Centre> centres, const Bounds &bounds, std::vector<Bucket> &buckets) {
  std::stable_sort(centres.begin(), centres.end(),
                   [](const Centre &a, const Centre &b) { return a.work() > b.work(); });
  const size_t before = buckets.size();
  double used = 0;
  for (const auto &centre : centres) {
    if (buckets.size() > before) {
      const auto &open = buckets.back();
      const int width = std::max(open.width, centre.num_edges);
      const int line_width = std::max(open.line_width, centre.num_line);
      const double padded = static_cast<double>(open.centres.size() + 1) * Centre::work(width, line_width);
      const double padding = padded - used - centre.work();
      if (padded > bounds.work || open.centres.size() == bounds.atoms ||
          padding > std::max(kFreePadding, kLargestPadding * padded)) {
        buckets.emplace_back();
        used = 0;
      }
    } else {
      buckets.emplace_back();
    }
    auto &bucket = buckets.back();
    bucket.centres.push_back(centre);
    bucket.width = std::max(bucket.width, centre.num_edges);
    bucket.line_width = std::max(bucket.line_width, centre.num_line);
    used += centre.work();
  }
  for (auto bucket = buckets.begin() + static_cast<std::ptrdiff_t>(before); bucket != buckets.end(); ++bucket)
    std::stable_sort(bucket->centres.begin(), bucket->centres.end(),
                     [](const Centre &a, const Centre &b) { return a.species < b.species; });
}

// Buckets take from stretches of LAMMPS's order, which is spatial, so that their atoms share neighbours.
std::vector<Bucket> all_buckets(const std::vector<Centre> &centres, const Bounds &bounds) {
  std::vector<Bucket> buckets;
  for (size_t begin = 0; begin < centres.size(); begin += bounds.stretch) {
    const auto from = centres.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto to = centres.begin() + static_cast<std::ptrdiff_t>(std::min(begin + bounds.stretch, centres.size()));
    split({from, to}, bounds, buckets);
  }
  return buckets;
}

// Gives every atom its row: centres in the order of the buckets, ghosts as they are met.
std::vector<int> number_rows(const std::vector<Bucket> &buckets, const std::vector<Edge> &edges, int num_atoms,
                             NeighbourTables &tables) {
  std::vector<int> row(num_atoms, -1);
  for (const auto &bucket : buckets)
    for (const auto &centre : bucket.centres) {
      row[centre.atom] = static_cast<int>(tables.atoms.size());
      tables.atoms.push_back(centre.atom);
      tables.num_edges.push_back(centre.num_edges);
    }
  tables.num_owned = static_cast<int64_t>(tables.atoms.size());
  for (const auto &edge : edges)
    if (row[edge.neighbour] < 0) {
      row[edge.neighbour] = static_cast<int>(tables.atoms.size());
      tables.atoms.push_back(edge.neighbour);
    }
  return row;
}

void fill(const Bucket &bucket, const std::vector<Edge> &edges, const std::vector<int> &row, NeighbourTables &tables) {
  const auto rows = static_cast<int64_t>(bucket.centres.size());
  auto neighbours = torch::empty({rows, bucket.width}, torch::kInt64);
  auto vectors = torch::zeros({rows, bucket.width, 3}, torch::kFloat64);
  auto *to_row = neighbours.data_ptr<int64_t>();
  auto *vector = vectors.data_ptr<double>();
  for (const auto &centre : bucket.centres)
    for (int k = 0; k < bucket.width; ++k, ++to_row, vector += 3) {
      if (k < centre.num_edges) {
        const Edge &edge = edges[centre.first + k];
        *to_row = row[edge.neighbour];
        std::copy_n(edge.vector, 3, vector);
      } else {
        *to_row = row[centre.atom];
        vector[0] = kFarAway;
      }
    }
  tables.neighbours.push_back(neighbours);
  tables.vectors.push_back(vectors);
  tables.line_counts.push_back(bucket.line_width);
}

}  // namespace

int64_t NeighbourTables::largest_bucket() const {
  int64_t largest = 0;
  for (const auto &table : neighbours) largest = std::max(largest, table.size(0));
  return largest;
}

NeighbourTables build_tables(const LocalAtoms &local, double cutoff, double line_cutoff, bool on_gpu,
                             std::optional<int> chunk) {
  std::vector<Edge> edges;
  std::vector<Centre> centres;
  for (int index = 0; index < local.num_centres; ++index)
    if (local.species_of_type[local.types[local.centres[index]]] >= 0)
      centres.push_back(collect(local, index, cutoff, line_cutoff, edges));
  const Bounds bounds{on_gpu ? kLargestBucketGpu : kLargestBucket,
                      static_cast<size_t>(chunk.value_or(std::numeric_limits<int>::max())),
                      on_gpu ? kStretchGpu : kStretch};
  const auto buckets = all_buckets(centres, bounds);
  NeighbourTables tables;
  const auto row = number_rows(buckets, edges, local.num_atoms, tables);
  for (const auto &bucket : buckets) fill(bucket, edges, row, tables);
  tables.species = torch::empty({static_cast<int64_t>(tables.atoms.size())}, torch::kInt64);
  auto *species = tables.species.data_ptr<int64_t>();
  for (const int atom : tables.atoms) *species++ = local.species_of_type[local.types[atom]];
  return tables;
}

}  // namespace janus
