#include "derivatives.h"

#include "chunked.h"
#include "whole.h"

#include <c10/core/AutogradState.h>

namespace janus {
namespace {

// While it lives, backward passes run on the calling thread: only it may use MPI.
class OneThreadBackward {
 public:
  OneThreadBackward() : before_(c10::AutogradState::get_tls_state().get_multithreading_enabled()) { set(false); }
  ~OneThreadBackward() { set(before_); }
  OneThreadBackward(const OneThreadBackward &) = delete;
  OneThreadBackward &operator=(const OneThreadBackward &) = delete;

 private:
  static void set(bool enabled) { c10::AutogradState::get_tls_state().set_multithreading_enabled(enabled); }
  bool before_;
};

// A rank without atoms still passes features and gradients between its neighbours' ranks.
Evaluation pass_on(const Problem &problem) {
  const auto &model = problem.model;
  const auto none = torch::zeros({0, model.manifest().feature_width}, model.dtype());
  const int64_t exchanges = model.manifest().num_blocks - 1;
  for (int64_t i = 0; i < exchanges; ++i) problem.halo.forward(none);
  for (int64_t i = 0; i < exchanges; ++i) problem.halo.backward(none);
  return {torch::zeros({0}, torch::kFloat64), {}};
}

}  // namespace

Evaluation evaluate(const Problem &problem, double kept) {
  if (problem.tables.num_owned == 0) return pass_on(problem);
  const OneThreadBackward one_thread;
  int64_t slots = 0;
  for (const auto &table : problem.tables.neighbours) slots += table.numel();
  const bool much = static_cast<double>(problem.model.kept_bytes(slots)) > kept;
  return much ? evaluate_chunked(problem, kept) : evaluate_whole(problem);
}

}  // namespace janus
