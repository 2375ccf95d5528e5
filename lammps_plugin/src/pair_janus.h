// Pair style janus: what LAMMPS sees of a Janus-MD potential.
#pragma once

#include "options.h"
#include "profile.h"

#include "pair.h"

#include <c10/core/ScalarType.h>

#include <memory>
#include <string>
#include <vector>

namespace janus {
class Halo;
class Potential;
struct Evaluation;
struct LocalAtoms;
struct NeighbourTables;
struct Opinion;
}  // namespace janus

namespace LAMMPS_NS {

class PairJanus : public Pair {
 public:
  explicit PairJanus(LAMMPS *lmp);
  ~PairJanus() override;

  void settings(int narg, char **arg) override;
  void coeff(int narg, char **arg) override;
  void init_style() override;
  double init_one(int i, int j) override;
  void setup() override;
  void compute(int eflag, int vflag) override;
  void finish() override;
  void *extract(const char *name, int &dimensions) override;
  void *extract_peratom(const char *name, int &columns) override;

  int pack_forward_comm(int count, int *atoms, double *buffer, int pbc_flag, int *pbc) override;
  void unpack_forward_comm(int count, int first, double *buffer) override;
  int pack_reverse_comm(int count, int first, double *buffer) override;
  void unpack_reverse_comm(int count, int *atoms, double *buffer) override;

 private:
  void allocate();
  void clear_setflag();
  void load(const std::vector<std::string> &paths, const std::vector<std::string> &symbols);
  void announce_exchange();
  double energy_unit() const;
  void warn_of_excluded_pairs() const;
  std::string describe() const;
  std::string name_of(int atom_index) const;
  int excluded_groups() const;
  janus::LocalAtoms local_atoms() const;
  const janus::NeighbourTables &tables_of(janus::Potential &potential);
  janus::Halo exchange(const janus::NeighbourTables &tables, int64_t width, c10::ScalarType dtype);
  janus::Evaluation evaluate(janus::Potential &potential, const janus::NeighbourTables &tables);
  [[noreturn]] void end_for_all(const janus::Potential &potential, const janus::NeighbourTables &tables,
                                const std::string &what);
  janus::Opinion opinion(const janus::Evaluation &evaluation, const janus::NeighbourTables &tables);
  void check_finite(const janus::Potential &potential, const janus::Evaluation &evaluation,
                    const janus::NeighbourTables &tables);
  void compare(const janus::Evaluation &evaluation, const janus::NeighbourTables &tables);

  janus::Options options_;
  std::vector<std::unique_ptr<janus::Potential>> potentials_;  // the first moves the atoms
  janus::Profile profile_;
  janus::Halo *halo_ = nullptr;  // of the exchange under way
  double scale_ = 1.0;           // LAMMPS's energy unit in eV⁻¹
  bool introduced_ = false;

  // Deviations of an ensemble: global ones are on rank 0, for LAMMPS adds those of all ranks.
  std::vector<double> global_deviations_;
  std::vector<double> force_deviations_;
  std::vector<double> energy_deviations_;
  int force_deviation_wanted_ = 0;  // set by fix pair for the steps it wants
  int energy_deviation_wanted_ = 0;
  bool compared_ = false;  // in this step
};

}  // namespace LAMMPS_NS
