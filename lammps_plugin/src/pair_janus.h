// Pair style janus: what LAMMPS sees of a Janus-MD potential.
#pragma once

#include "options.h"

#include "pair.h"

#include <memory>
#include <vector>

namespace janus {
class Halo;
class Model;
struct SystemState;
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
  void compute(int eflag, int vflag) override;

  int pack_forward_comm(int count, int *atoms, double *buffer, int pbc_flag, int *pbc) override;
  void unpack_forward_comm(int count, int first, double *buffer) override;
  int pack_reverse_comm(int count, int first, double *buffer) override;
  void unpack_reverse_comm(int count, int *atoms, double *buffer) override;

 private:
  void allocate();
  void map_types(int narg, char **arg);
  void check_options() const;
  void announce_exchange();
  double energy_unit() const;
  std::string describe() const;
  void update_state();

  janus::Options options_;
  std::string path_;
  std::unique_ptr<janus::Model> model_;
  std::unique_ptr<janus::SystemState> state_;
  std::vector<int> species_of_type_;  // [types + 1]; -1: left to another style
  janus::Halo *halo_ = nullptr;       // of the step under way
  double scale_ = 1.0;                // LAMMPS's energy unit in eV⁻¹
  bool introduced_ = false;
};

}  // namespace LAMMPS_NS
