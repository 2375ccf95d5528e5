#include "derivatives.h"
#include "device.h"
#include "halo.h"
#include "model.h"
#include "neighbour_tables.h"
#include "tally.h"

#include "pair_janus.h"

#include "agreement.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"

#include <algorithm>
#include <cmath>

namespace LAMMPS_NS {
namespace {

std::string counted(int count, const std::string &noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

}  // namespace

PairJanus::PairJanus(LAMMPS *lmp) : Pair(lmp) {
  single_enable = 0;
  restartinfo = 0;
  one_coeff = 1;
  manybody_flag = 1;
  no_virial_fdotr_compute = 1;
  centroidstressflag = CENTROID_NOTAVAIL;
}

PairJanus::~PairJanus() {
  if (!allocated) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
}

void PairJanus::settings(int narg, char **arg) {
  janus::agree(error, world, [&] { options_ = janus::parse_options(narg, arg); });
}

void PairJanus::allocate() {
  const int n = atom->ntypes + 1;
  memory->create(setflag, n, n, "pair:setflag");
  memory->create(cutsq, n, n, "pair:cutsq");
  for (int i = 0; i < n; ++i) std::fill_n(setflag[i], n, 0);
  allocated = 1;
}

void PairJanus::coeff(int narg, char **arg) {
  if (!allocated) allocate();
  if (narg < 4 || std::string(arg[0]) != "*" || std::string(arg[1]) != "*")
    error->all(FLERR, "write 'pair_coeff * * MODEL.janus.pt' and one symbol or NULL for each atom type");
  path_ = arg[2];
  const std::string bytes = janus::read_on_first_rank(error, world, path_);
  janus::agree(error, world, [&] {
    const auto device = janus::choose_device(options_.device, world);
    model_ = std::make_unique<janus::Model>(bytes, path_, device, options_.precision);
    map_types(narg - 3, arg + 3);
    check_options();
  });
  introduced_ = false;
  announce_exchange();
}

void PairJanus::map_types(int narg, char **arg) {
  if (narg != atom->ntypes)
    throw janus::UserError("pair_coeff names " + counted(narg, "symbol") + " after " + path_ + " for " +
                           counted(atom->ntypes, "atom type") + ": give one symbol or NULL for each");
  const auto &elements = model_->manifest().elements;
  species_of_type_.assign(atom->ntypes + 1, -1);
  bool any = false;
  for (int type = 1; type <= atom->ntypes; ++type) {
    const std::string symbol = arg[type - 1];
    if (symbol == "NULL") continue;
    species_of_type_[type] = model_->manifest().species(symbol);
    if (species_of_type_[type] < 0)
      throw janus::UserError(path_ + " does not know the element " + symbol + " of atom type " + std::to_string(type) +
                             ": it was made for " + janus::join(elements));
    any = true;
  }
  if (!any) throw janus::UserError("pair_coeff for " + path_ + " leaves every atom type to others: name an element");
  for (int i = 1; i <= atom->ntypes; ++i)
    for (int j = i; j <= atom->ntypes; ++j) setflag[i][j] = species_of_type_[i] >= 0 && species_of_type_[j] >= 0;
}

void PairJanus::check_options() const {
  const auto &manifest = model_->manifest();
  if (options_.charge && !manifest.uses_charge)
    throw janus::UserError("pair_style janus gives a charge, but " + path_ + " does not use one: leave it out");
  if (options_.spin && !manifest.uses_spin)
    throw janus::UserError("pair_style janus gives a spin, but " + path_ + " does not use one: leave it out");
  const auto &tasks = manifest.tasks;
  if (!options_.task && tasks.size() > 1)
    throw janus::UserError(path_ + " holds the tasks " + janus::join(tasks) +
                           ": choose one with 'pair_style janus task NAME'");
  if (options_.task && std::find(tasks.begin(), tasks.end(), *options_.task) == tasks.end())
    throw janus::UserError(path_ + " has no task '" + *options_.task + "' (known: " + janus::join(tasks) + ")");
}

// LAMMPS sizes its buffers by the top style, which hybrid styles set before models are known.
void PairJanus::announce_exchange() {
  comm_forward = comm_reverse = janus::Halo::doubles_per_atom(model_->manifest().feature_width, model_->dtype());
  if (!force->pair) return;
  force->pair->comm_forward = std::max(force->pair->comm_forward, comm_forward);
  force->pair->comm_reverse = std::max(force->pair->comm_reverse, comm_reverse);
}

double PairJanus::energy_unit() const {
  const std::string units = update->unit_style;
  if (units == "metal") return 1.0;
  if (units == "real") return utils::get_conversion_factor(utils::ENERGY, utils::METAL2REAL);
  error->all(FLERR, "pair_style janus works in units metal or real, not " + units);
}

void PairJanus::init_style() {
  if (!model_) error->all(FLERR, "pair_style janus has no model: give one with pair_coeff");
  if (!force->newton_pair)
    error->all(FLERR, "pair_style janus needs 'newton on': forces of ghosts return to their owners");
  if (atom->molecular != Atom::ATOMIC)
    for (int k = 1; k <= 3; ++k)
      if (force->special_lj[k] == 0.0 && force->special_coul[k] == 0.0)
        error->all(FLERR, "pair_style janus needs bonded neighbours in its lists: "
                          "give 'special_bonds lj/coul 1.0 1.0 1.0'");
  scale_ = energy_unit();
  announce_exchange();
  neighbor->add_request(this, NeighConst::REQ_FULL);
  if (!introduced_ && comm->me == 0) utils::logmesg(lmp, describe());
  introduced_ = true;
}

std::string PairJanus::describe() const {
  std::vector<std::string> used;
  for (const int species : species_of_type_)
    if (species >= 0) used.push_back(model_->manifest().elements[species]);
  const std::string precision = model_->dtype() == torch::kFloat64 ? "double" : "single";
  return fmt::format("Janus-MD: {} for types {}, cutoff {} Å, {} precision, on {} with {} thread(s) per rank\n", path_,
                     janus::join(used), model_->manifest().cutoff, precision, model_->device().str(), comm->nthreads);
}

double PairJanus::init_one(int /*i*/, int /*j*/) { return model_->manifest().cutoff; }

// Composition is that of the atoms this style sees, over all ranks.
void PairJanus::update_state() {
  const auto &manifest = model_->manifest();
  const auto number = torch::TensorOptions().dtype(torch::kFloat64);
  const auto &tasks = manifest.tasks;
  const auto task = options_.task ? std::find(tasks.begin(), tasks.end(), *options_.task) - tasks.begin() : 0;
  std::vector<double> counts(manifest.elements.size(), 0.0);
  if (manifest.uses_composition) {
    for (int i = 0; i < atom->nlocal; ++i)
      if (const int species = species_of_type_[atom->type[i]]; species >= 0) counts[species] += 1.0;
    MPI_Allreduce(MPI_IN_PLACE, counts.data(), static_cast<int>(counts.size()), MPI_DOUBLE, MPI_SUM, world);
  }
  const auto composition = torch::tensor(counts, number).unsqueeze(0);
  const auto device = model_->device();
  state_ = std::make_unique<janus::SystemState>(janus::SystemState{
      torch::full({1}, static_cast<int64_t>(task), torch::kInt64).to(device),
      torch::full({1}, options_.charge.value_or(0.0), number).to(device),
      torch::full({1}, options_.spin.value_or(0.0), number).to(device),
      (composition / composition.sum().clamp_min(1.0)).to(device)});
}

void PairJanus::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  const janus::ThreadCount threads(comm->nthreads);
  const auto &manifest = model_->manifest();
  const int num_atoms = atom->nlocal + atom->nghost;
  const janus::LocalAtoms local{atom->x,    atom->type,  num_atoms,      species_of_type_,
                                list->inum, list->ilist, list->numneigh, list->firstneigh};
  janus::NeighbourTables tables;
  janus::agree(error, world, [&] {
    tables = janus::build_tables(local, manifest.cutoff, manifest.line_cutoff, model_->device().is_cuda());
  });
  update_state();
  janus::Halo halo(tables, num_atoms, manifest.feature_width, model_->dtype(), [this] { comm->forward_comm(this); },
                   [this] { comm->reverse_comm(this); });
  halo_ = &halo;
  try {
    const auto evaluation = janus::evaluate(*model_, tables, halo, *state_);
    janus::tally(evaluation, tables, scale_,
                 {atom->f, eflag_global ? &eng_vdwl : nullptr, eflag_atom ? eatom : nullptr,
                  vflag_global ? virial : nullptr, vflag_atom ? vatom : nullptr});
  } catch (const c10::Error &e) {  // others wait in an exchange, so this rank ends all
    error->one(FLERR, std::string("evaluating ") + path_ + " failed: " + e.what_without_backtrace());
  }
  halo_ = nullptr;
  if (eflag_global && !std::isfinite(eng_vdwl))
    error->one(FLERR, path_ + " gives an energy that is not finite: the structure or the time step is unphysical");
}

int PairJanus::pack_forward_comm(int count, int *atoms, double *buffer, int /*pbc_flag*/, int * /*pbc*/) {
  return halo_->pack(count, atoms, buffer);
}

void PairJanus::unpack_forward_comm(int count, int first, double *buffer) { halo_->unpack(count, first, buffer); }

int PairJanus::pack_reverse_comm(int count, int first, double *buffer) {
  return halo_->pack_reverse(count, first, buffer);
}

void PairJanus::unpack_reverse_comm(int count, int *atoms, double *buffer) {
  halo_->unpack_reverse(count, atoms, buffer);
}

}  // namespace LAMMPS_NS
