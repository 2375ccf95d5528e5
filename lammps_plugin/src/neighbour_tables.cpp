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

constexpr double kRoom = 1.1;               // of a buffer that grows, against growing again in the next step

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

using Centres = std::vector<Centre>::iterator;

struct Bucket {
  Centres begin;
  Centres end;
  int width = 1;
  int line_width = 0;

  int64_t size() const { return end - begin; }
};

// Memory for one tensor of every step.
class Buffer {
 public:
  explicit Buffer(torch::ScalarType dtype) : tensor_(torch::empty({0}, dtype)) {}

  // Room for `count` values, whatever they are. A tensor that somebody still holds is left to them.
  torch::Tensor values(int64_t count) {
    if (tensor_.numel() < count || tensor_.storage().use_count() > 1)
      tensor_ = torch::empty({static_cast<int64_t>(kRoom * static_cast<double>(count))}, tensor_.options());
    return tensor_.slice(0, 0, count);
  }

 private:
  torch::Tensor tensor_;
};

[[noreturn]] void coincident(const LocalAtoms &local, int i, const Edge &edge) {
  char where[120];
  std::snprintf(where, sizeof where, " are %.3g Å apart, on top of each other, near (%.3f, %.3f, %.3f)",
                std::sqrt(edge.squared), local.positions[i][0], local.positions[i][1], local.positions[i][2]);
  throw UserError(local.name(i) + " and " + local.name(edge.neighbour) + where +
                  ": remove one of them or check the box; in a run, shorten the time step, or give fix gcmc "
                  "an overlap_cutoff");
}

// Appends the edges of atom i, nearest first.
Centre collect(const LocalAtoms &local, int index, double cutoff, double line_cutoff, std::vector<Edge> &edges) {
  const int i = local.centres[index];
  const double *here = local.positions[i];
  Centre centre{i, local.species_of_type[local.types[i]], 0, edges.size(), 0};
  for (int k = 0; k < local.num_neighbours[i]; ++k) {
    const int j = local.neighbours[i][k] & kListMask;
    if (!local.seen(j)) continue;
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
  int64_t atoms;  // in a bucket
  size_t stretch;
};

// Most work first. The order is total, so that sorting needs no memory to be stable.
bool harder(const Centre &a, const Centre &b) {
  const double difference = a.work() - b.work();
  return difference != 0.0 ? difference > 0.0 : a.atom < b.atom;
}

bool by_species(const Centre &a, const Centre &b) { return a.species != b.species ? a.species < b.species : harder(a, b); }

// Rows of similar work together: little padding, and no bucket beyond `bounds`. Sorts them and appends to `buckets`.
void split(Centres begin, Centres end, const Bounds &bounds, std::vector<Bucket> &buckets) {
  std::sort(begin, end, harder);
  const size_t before = buckets.size();
  double used = 0;
  for (auto centre = begin; centre != end; ++centre) {
    bool full = buckets.size() == before;
    if (!full) {
      const auto &open = buckets.back();
      const int width = std::max(open.width, centre->num_edges);
      const int line_width = std::max(open.line_width, centre->num_line);
      const double padded = static_cast<double>(open.size() + 1) * Centre::work(width, line_width);
      const double padding = padded - used - centre->work();
      full = padded > bounds.work || open.size() == bounds.atoms ||
             padding > std::max(kFreePadding, kLargestPadding * padded);
    }
    if (full) {
      buckets.push_back({centre, centre});
      used = 0;
    }
    auto &bucket = buckets.back();
    bucket.end = centre + 1;
    bucket.width = std::max(bucket.width, centre->num_edges);
    bucket.line_width = std::max(bucket.line_width, centre->num_line);
    used += centre->work();
  }
  for (size_t b = before; b < buckets.size(); ++b) std::sort(buckets[b].begin, buckets[b].end, by_species);
}

void fill(const Bucket &bucket, const std::vector<Edge> &edges, const std::vector<int> &row, int64_t *to_row,
          double *vector) {
  for (auto centre = bucket.begin; centre != bucket.end; ++centre)
    for (int k = 0; k < bucket.width; ++k, ++to_row, vector += 3) {
      if (k < centre->num_edges) {
        const Edge &edge = edges[centre->first + k];
        *to_row = row[edge.neighbour];
        std::copy_n(edge.vector, 3, vector);
      } else {
        *to_row = row[centre->atom];
        vector[0] = kFarAway;
        vector[1] = vector[2] = 0.0;
      }
    }
}

}  // namespace

int64_t NeighbourTables::largest_bucket() const {
  int64_t largest = 0;
  for (const auto &table : neighbours) largest = std::max(largest, table.size(0));
  return largest;
}

struct TableBuilder::Memory {
  std::vector<Edge> edges;
  std::vector<Centre> centres;
  std::vector<Bucket> buckets;
  std::vector<int> row;  // of each of LAMMPS's atoms
  Buffer species{torch::kInt64};
  Buffer neighbours{torch::kInt64};
  Buffer vectors{torch::kFloat64};
  NeighbourTables tables;

  // Before the buffers are asked for their memory: the tables of the last step hold it, too.
  void let_go() {
    tables.species = torch::Tensor();
    tables.neighbours.clear();
    tables.vectors.clear();
    tables.line_counts.clear();
  }

  void collect_all(const LocalAtoms &local, double cutoff, double line_cutoff) {
    edges.clear();
    centres.clear();
    for (int index = 0; index < local.num_centres; ++index)
      if (local.seen(local.centres[index]))
        centres.push_back(collect(local, index, cutoff, line_cutoff, edges));
  }

  // Buckets take from stretches of LAMMPS's order, which is spatial, so that their atoms share neighbours.
  void split_all(const Bounds &bounds) {
    buckets.clear();
    for (size_t begin = 0; begin < centres.size(); begin += bounds.stretch) {
      const auto end = std::min(begin + bounds.stretch, centres.size());
      split(centres.begin() + static_cast<std::ptrdiff_t>(begin), centres.begin() + static_cast<std::ptrdiff_t>(end),
            bounds, buckets);
    }
  }

  // Gives every atom its row: centres in the order of the buckets, ghosts as they are met.
  void number_rows(int num_atoms) {
    row.assign(num_atoms, -1);
    tables.atoms.clear();
    tables.num_edges.clear();
    for (const auto &centre : centres) {
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
  }

  void fill_species(const LocalAtoms &local) {
    tables.species = species.values(static_cast<int64_t>(tables.atoms.size()));
    auto *kind = tables.species.data_ptr<int64_t>();
    for (const int atom : tables.atoms) *kind++ = local.species_of_type[local.types[atom]];
  }

  void fill_all() {
    int64_t slots = 0;
    for (const auto &bucket : buckets) slots += bucket.size() * bucket.width;
    const auto all_neighbours = neighbours.values(slots);
    const auto all_vectors = vectors.values(3 * slots);
    int64_t first = 0;
    for (const auto &bucket : buckets) {
      const int64_t last = first + bucket.size() * bucket.width;
      tables.neighbours.push_back(all_neighbours.slice(0, first, last).view({bucket.size(), bucket.width}));
      tables.vectors.push_back(all_vectors.slice(0, 3 * first, 3 * last).view({bucket.size(), bucket.width, 3}));
      tables.line_counts.push_back(bucket.line_width);
      fill(bucket, edges, row, tables.neighbours.back().data_ptr<int64_t>(), tables.vectors.back().data_ptr<double>());
      first = last;
    }
  }
};

TableBuilder::TableBuilder() : memory_(std::make_unique<Memory>()) {}
TableBuilder::~TableBuilder() = default;

const NeighbourTables &TableBuilder::build(const LocalAtoms &local, double cutoff, double line_cutoff, bool on_gpu,
                                           std::optional<int> chunk) {
  memory_->let_go();
  memory_->collect_all(local, cutoff, line_cutoff);
  memory_->split_all({on_gpu ? kLargestBucketGpu : kLargestBucket, chunk.value_or(std::numeric_limits<int>::max()),
                      on_gpu ? kStretchGpu : kStretch});
  memory_->number_rows(local.num_atoms);
  memory_->fill_species(local);
  memory_->fill_all();
  return memory_->tables;
}

}  // namespace janus
