// Where the time of a step goes, and how much the ranks send each other.
#pragma once

#include <mpi.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace janus {

class Profile {
 public:
  enum Part { outside, edges, line_graph, forward, exchange, backward, scatter, num_parts };

  // Counts the time of its life for `part`; a section that opens inside another takes its time from that one.
  class Section {
   public:
    Section(Profile &profile, Part part) : profile_(profile), before_(profile.enter(part)) {}
    ~Section() { profile_.enter(before_); }
    Section(const Section &) = delete;
    Section &operator=(const Section &) = delete;

   private:
    Profile &profile_;
    Part before_;
  };

  // A GPU works on while the host goes on, so parts are only told apart if the host waits at their ends.
  void wait_for_gpu(std::optional<int> number) { gpu_ = number; }

  void restart();
  void count_step() { ++steps_; }
  void count_sent(int64_t bytes) { bytes_ += bytes; }

  // Least, mean and largest time per step of the ranks, and the bytes each sends (collective; on rank 0, else empty).
  std::string table(MPI_Comm world) const;

 private:
  using Clock = std::chrono::steady_clock;

  Part enter(Part part);

  std::array<double, num_parts> seconds_{};
  Part part_ = outside;
  Clock::time_point since_ = Clock::now();
  int64_t steps_ = 0;
  int64_t bytes_ = 0;
  std::optional<int> gpu_;
};

}  // namespace janus
