#include "local_rank.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace janus {
namespace {

// Open MPI; MPICH and Intel MPI; MVAPICH; two of HPE's; Flux; Slurm's srun, last because an mpirun in a Slurm job hands
// down the number of the process that called it.
constexpr std::array<const char *, 7> LAUNCHERS = {
    "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID",    "MV2_COMM_WORLD_LOCAL_RANK", "PALS_LOCAL_RANKID",
    "PMI_LOCAL_RANK",             "FLUX_TASK_LOCAL_ID", "SLURM_LOCALID"};

// -1 if no launcher gives a number.
int launchers_number() {
  for (const char *variable : LAUNCHERS) {
    const char *text = std::getenv(variable);
    if (!text) continue;
    int number = -1;
    const auto [end, fault] = std::from_chars(text, text + std::strlen(text), number);
    if (fault == std::errc() && *end == '\0' && number >= 0) return number;
  }
  return -1;
}

// Numbers of one node: each rank has one, and no two the same.
bool tell_apart(std::vector<int> numbers) {
  std::sort(numbers.begin(), numbers.end());
  return numbers.front() >= 0 && std::adjacent_find(numbers.begin(), numbers.end()) == numbers.end();
}

}  // namespace

int local_rank(MPI_Comm world) {
  MPI_Comm node;
  MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
  int rank = 0;
  int ranks = 1;
  MPI_Comm_rank(node, &rank);
  MPI_Comm_size(node, &ranks);
  const int own = launchers_number();
  std::vector<int> numbers(ranks);
  MPI_Allgather(&own, 1, MPI_INT, numbers.data(), 1, MPI_INT, node);
  MPI_Comm_free(&node);
  return tell_apart(numbers) ? own : rank;
}

}  // namespace janus
