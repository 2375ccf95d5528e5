#include "agreement.h"

#include "faults.h"

#include "error.h"
#include "pointers.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace janus {
namespace {

constexpr int64_t kLargestMessage = 1 << 30;  // MPI counts are ints

void broadcast(MPI_Comm world, int root, std::string &text) {
  int rank = 0;
  MPI_Comm_rank(world, &rank);
  int64_t size = rank == root ? static_cast<int64_t>(text.size()) : 0;
  MPI_Bcast(&size, 1, MPI_INT64_T, root, world);
  text.resize(size);
  for (int64_t begin = 0; begin < size; begin += kLargestMessage)
    MPI_Bcast(text.data() + begin, static_cast<int>(std::min(kLargestMessage, size - begin)), MPI_CHAR, root, world);
}

}  // namespace

void agree(LAMMPS_NS::Error *error, MPI_Comm world, const std::function<void()> &work) {
  int rank = 0;
  int ranks = 1;
  MPI_Comm_rank(world, &rank);
  MPI_Comm_size(world, &ranks);
  std::string message;
  int failed = ranks;
  try {
    work();
  } catch (const std::exception &e) {
    message = reason_of(e.what());
    failed = rank;
  }
  int first = ranks;
  MPI_Allreduce(&failed, &first, 1, MPI_INT, MPI_MIN, world);
  if (first == ranks) return;
  broadcast(world, first, message);
  error->all(FLERR, message);
}

std::string read_on_first_rank(LAMMPS_NS::Error *error, MPI_Comm world, const std::string &path) {
  int rank = 0;
  MPI_Comm_rank(world, &rank);
  std::string bytes;
  agree(error, world, [&] {
    if (rank != 0) return;
    if (std::filesystem::is_directory(path))
      throw UserError("the model " + path + " is a folder: write a file of it with 'janus-md export'");
    std::ifstream file(path, std::ios::binary);
    if (!file) throw UserError("the model file " + path + " does not exist or cannot be read: "
                                "check its name and rights, or write it with 'janus-md export'");
    std::ostringstream content;
    content << file.rdbuf();
    if (!file || content.str().empty()) throw UserError("the model file " + path + " is empty or cannot be read");
    bytes = std::move(content).str();
  });
  broadcast(world, 0, bytes);
  return bytes;
}

}  // namespace janus
