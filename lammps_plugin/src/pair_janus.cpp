#include "derivatives.h"
#include "deviation.h"
#include "device.h"
#include "faults.h"
#include "halo.h"
#include "neighbour_tables.h"
#include "not_finite.h"
#include "potential.h"
#include "tally.h"

#include "pair_janus.h"

#include "agreement.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "group.h"
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
  centroidstressflag = CENTROID_AVAIL;
}

PairJanus::~PairJanus() {
  pvector = nullptr;
  if (!allocated) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
}

// LAMMPS calls it again on the same object when the style stays: models made with other settings must not stay, too.
void PairJanus::settings(int narg, char **arg) {
  janus::agree(error, world, [&] { options_ = janus::parse_options(narg, arg); });
  potentials_.clear();
  if (allocated) clear_setflag();
}

void PairJanus::clear_setflag() {
  const int n = atom->ntypes + 1;
  for (int i = 0; i < n; ++i) std::fill_n(setflag[i], n, 0);
}

void PairJanus::allocate() {
  const int n = atom->ntypes + 1;
  memory->create(setflag, n, n, "pair:setflag");
  memory->create(cutsq, n, n, "pair:cutsq");
  clear_setflag();
  allocated = 1;
}

void PairJanus::coeff(int narg, char **arg) {
  if (!allocated) allocate();
  if (!force->newton_pair)
    error->all(FLERR, "pair_style janus needs 'newton on': forces of ghosts return to their owners");
  if (narg < 4 || std::string(arg[0]) != "*" || std::string(arg[1]) != "*")
    error->all(FLERR, "write 'pair_coeff * * MODEL.janus.pt' and one symbol or NULL for each atom type");
  int first_symbol = 3;  // the first word is a model whatever its name; others end with .pt
  while (first_symbol < narg && std::string(arg[first_symbol]).ends_with(".pt")) ++first_symbol;
  const std::vector<std::string> paths(arg + 2, arg + first_symbol);
  const std::vector<std::string> symbols(arg + first_symbol, arg + narg);
  if (static_cast<int>(symbols.size()) != atom->ntypes)
    error->all(FLERR, "pair_coeff names " + counted(symbols.size(), "symbol") + " after " + paths.back() + " for " +
                          counted(atom->ntypes, "atom type") + ": give one symbol or NULL for each");
  load(paths, symbols);
  const auto &species = potentials_.front()->species_of_type();
  const auto left = std::find(species.begin() + 1, species.end(), -1) - species.begin();
  if (left <= atom->ntypes && !utils::strmatch(force->pair_style, "^hybrid"))
    error->all(FLERR, fmt::format("atom type {} is NULL, which leaves it to another pair style: "
                                  "name its element, or add that style with 'pair_style hybrid/overlay'", left));
  for (int i = 1; i <= atom->ntypes; ++i)
    for (int j = i; j <= atom->ntypes; ++j) setflag[i][j] = species[i] >= 0 && species[j] >= 0;
  global_deviations_.assign(paths.size() > 1 ? 3 : 0, 0.0);
  nextra = static_cast<int>(global_deviations_.size());
  pvector = global_deviations_.data();
  introduced_ = false;
  announce_exchange();
}

void PairJanus::load(const std::vector<std::string> &paths, const std::vector<std::string> &symbols) {
  std::vector<std::unique_ptr<janus::Potential>> loaded;
  const auto device = janus::choose_device(error, options_.device, world);
  if (options_.profile && device.is_cuda()) profile_.wait_for_gpu(device.index());
  for (const auto &path : paths) {
    const std::string bytes = janus::read_on_first_rank(error, world, path);
    janus::agree(error, world, [&] {
      loaded.push_back(std::make_unique<janus::Potential>(bytes, path, device, options_, symbols));
    });
  }
  potentials_ = std::move(loaded);
}

// LAMMPS sizes its buffers by the top style, which hybrid styles set before models are known.
void PairJanus::announce_exchange() {
  comm_forward = 0;
  comm_reverse = 3;  // forces
  for (const auto &potential : potentials_) {
    const int doubles =
        janus::Halo::doubles_per_atom(potential->manifest().feature_width, potential->model().dtype());
    comm_forward = std::max(comm_forward, doubles);
    comm_reverse = std::max(comm_reverse, doubles);
  }
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
  if (potentials_.empty()) error->all(FLERR, "pair_style janus has no model: give one with pair_coeff");
  if (atom->molecular != Atom::ATOMIC)
    for (int k = 1; k <= 3; ++k)
      if (force->special_lj[k] == 0.0 && force->special_coul[k] == 0.0)
        error->all(FLERR, "pair_style janus needs bonded neighbours in its lists: "
                          "give 'special_bonds lj/coul 1.0 1.0 1.0'");
  scale_ = energy_unit();
  warn_of_excluded_pairs();
  announce_exchange();
  neighbor->add_request(this, NeighConst::REQ_FULL);
  if (!introduced_ && comm->me == 0) utils::logmesg(lmp, describe());
  introduced_ = true;
}

// A pair that is not in the lists is no edge, so that all forces near its atoms change, not only those between the two.
void PairJanus::warn_of_excluded_pairs() const {
  bool pairs = neighbor->nex_type > 0 || neighbor->nex_mol > 0;
  for (int k = 0; k < neighbor->nex_group; ++k) pairs |= neighbor->ex1_group[k] != 0 && neighbor->ex2_group[k] != 0;
  if (pairs && comm->me == 0)
    error->warning(FLERR, "neigh_modify exclude takes pairs of atoms out of the graph of pair_style janus, so that forces "
                          "of all atoms around them change: leave them in and hold atoms with 'fix setforce'");
}

std::string PairJanus::describe() const {
  std::string text;
  for (const auto &potential : potentials_) {
    std::vector<std::string> used;
    for (int type = 1; type <= atom->ntypes; ++type)
      if (potential->species_of_type()[type] >= 0) used.push_back(potential->element(type));
    const auto &model = potential->model();
    const std::string precision = model.dtype() == torch::kFloat64 ? "double" : "single";
    text += fmt::format("Janus-MD: {} for types {}, cutoff {} Å, {} precision, on {} with {} thread(s) per rank{}\n",
                        potential->path(), janus::join(used), model.manifest().cutoff, precision,
                        model.device().str(), comm->nthreads,
                        potential == potentials_.front() ? "" : ", for comparison");
  }
  return text;
}

double PairJanus::init_one(int /*i*/, int /*j*/) {
  double cutoff = 0.0;
  for (const auto &potential : potentials_) cutoff = std::max(cutoff, potential->manifest().cutoff);
  return cutoff;
}

void PairJanus::setup() { profile_.restart(); }

void PairJanus::finish() {
  if (!options_.profile) return;
  const std::string table = profile_.table(world);
  if (comm->me == 0) utils::logmesg(lmp, table);
}

std::string PairJanus::name_of(int index) const {
  const auto &element = potentials_.front()->element(atom->type[index]);
  return atom->tag_enable ? fmt::format("atom {} ({})", atom->tag[index], element) : "an atom of " + element;
}

// `neigh_modify exclude group NAME all`. Fix gcmc takes an atom away like this to see what the energy would be, so the
// atom must not even have the energy of one without neighbours.
int PairJanus::excluded_groups() const {
  int groups = 0;
  for (int k = 0; k < neighbor->nex_group; ++k) {
    if (neighbor->ex1_group[k] == 0) groups |= group->bitmask[neighbor->ex2_group[k]];
    if (neighbor->ex2_group[k] == 0) groups |= group->bitmask[neighbor->ex1_group[k]];
  }
  return groups;
}

janus::LocalAtoms PairJanus::local_atoms() const {
  return {atom->x,
          atom->type,
          atom->nlocal + atom->nghost,
          {},
          atom->mask,
          excluded_groups(),
          list->inum,
          list->ilist,
          list->numneigh,
          list->firstneigh,
          [this](int index) { return name_of(index); }};
}

const janus::NeighbourTables &PairJanus::tables_of(janus::Potential &potential) {
  const janus::Profile::Section section(profile_, janus::Profile::edges);
  const janus::NeighbourTables *tables = nullptr;
  auto local = local_atoms();
  local.species_of_type = potential.species_of_type();
  janus::agree(error, world, [&] {
    tables = &potential.tables().build(local, potential.manifest().cutoff, potential.manifest().line_cutoff,
                                       potential.model().device().is_cuda(), options_.chunk);
  });
  return *tables;
}

janus::Halo PairJanus::exchange(const janus::NeighbourTables &tables, int64_t width, torch::ScalarType dtype) {
  return {tables,
          atom->nlocal + atom->nghost,
          width,
          dtype,
          [this](int doubles) { comm->forward_comm(this, doubles); },
          [this](int doubles) { comm->reverse_comm(this, doubles); },
          profile_};
}

janus::Evaluation PairJanus::evaluate(janus::Potential &potential, const janus::NeighbourTables &tables) {
  auto &model = potential.model();
  const auto state = potential.state(tables, world);
  auto halo = exchange(tables, model.manifest().feature_width, model.dtype());
  halo_ = &halo;
  try {
    auto evaluation = janus::evaluate({model, tables, state, halo, profile_}, options_.kept());
    halo_ = nullptr;
    check_finite(potential, evaluation, tables);
    return evaluation;
  } catch (const c10::Error &e) {  // of the backward pass
    end_for_all(potential, tables, e.what_without_backtrace());
  } catch (const std::runtime_error &e) {  // of the model's TorchScript, which makes one of every error
    end_for_all(potential, tables, e.what());
  }
}

void PairJanus::end_for_all(const janus::Potential &potential, const janus::NeighbourTables &tables,
                            const std::string &what) {
  // Other ranks wait in an exchange, so this one ends all.
  if (janus::is_out_of_memory(what)) {
    const auto atoms = tables.largest_bucket();
    error->one(FLERR, fmt::format("{} has not enough memory for {} atoms at a time: give 'pair_style janus chunk {}', or "
                                  "use more GPUs",
                                  potential.model().device().str(), atoms, std::max<int64_t>(1, atoms / 2)));
  }
  error->one(FLERR, "evaluating " + potential.path() + " failed: " + janus::reason_of(what));
}

void PairJanus::check_finite(const janus::Potential &potential, const janus::Evaluation &evaluation,
                             const janus::NeighbourTables &tables) {
  const auto found = janus::find_not_finite(evaluation, tables, world);
  if (!found) return;
  janus::agree(error, world, [&] {
    if (found->atom < 0) return;
    const std::string nearest = std::isfinite(found->distance)
                                    ? fmt::format("its nearest neighbour {:.3g} Å away", found->distance)
                                    : "no neighbour";
    throw janus::UserError(fmt::format("{} gives energies or forces that are not finite in step {}: {} has {}; start "
                                       "from another structure or take shorter steps",
                                       potential.path(), update->ntimestep, name_of(found->atom), nearest));
  });
}

void PairJanus::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  const janus::ThreadCount threads(comm->nthreads);
  const auto &tables = tables_of(*potentials_.front());
  const auto evaluation = evaluate(*potentials_.front(), tables);
  {
    const janus::Profile::Section section(profile_, janus::Profile::scatter);
    janus::tally(evaluation, tables, scale_,
                 {atom->f, eflag_global ? &eng_vdwl : nullptr, eflag_atom ? eatom : nullptr,
                  vflag_global ? virial : nullptr, vflag_atom ? vatom : nullptr, cvflag_atom ? cvatom : nullptr});
  }
  compared_ = potentials_.size() > 1 && (eflag_global || force_deviation_wanted_ || energy_deviation_wanted_);
  if (compared_) compare(evaluation, tables);
  profile_.count_step();
}

janus::Opinion PairJanus::opinion(const janus::Evaluation &evaluation, const janus::NeighbourTables &tables) {
  auto forces = exchange(tables, 3, torch::kFloat64);
  halo_ = &forces;
  auto result = janus::opinion_of(evaluation, tables, atom->nlocal, forces);
  halo_ = nullptr;
  return result;
}

// The other models cost as much as the first, so they run only in steps whose deviations somebody wants.
void PairJanus::compare(const janus::Evaluation &evaluation, const janus::NeighbourTables &tables) {
  std::vector<janus::Opinion> opinions{opinion(evaluation, tables)};
  for (size_t k = 1; k < potentials_.size(); ++k) {
    const auto &others = tables_of(*potentials_[k]);
    opinions.push_back(opinion(evaluate(*potentials_[k], others), others));
  }
  auto deviation = janus::deviation_of(opinions, tables.num_owned, world);
  for (auto *values : {&deviation.forces, &deviation.energies})
    for (auto &value : *values) value *= scale_;
  force_deviations_ = std::move(deviation.forces);
  energy_deviations_ = std::move(deviation.energies);
  const double on_first = comm->me == 0 ? scale_ : 0.0;
  global_deviations_ = {on_first * deviation.largest_force, on_first * deviation.mean_force,
                        on_first * deviation.energy};
  pvector = global_deviations_.data();
}

void *PairJanus::extract(const char *name, int &dimensions) {
  dimensions = 0;
  if (std::string(name) == "force_deviation_flag") return &force_deviation_wanted_;
  if (std::string(name) == "energy_deviation_flag") return &energy_deviation_wanted_;
  return nullptr;
}

// LAMMPS takes no answer for an error, also on a rank without atoms. When fix pair is made, outside of a run, it asks
// for the number of columns only.
void *PairJanus::extract_peratom(const char *name, int &columns) {
  columns = 0;
  const std::string field = name;
  auto *values = field == "force_deviation"    ? &force_deviations_
                 : field == "energy_deviation" ? &energy_deviations_
                                               : nullptr;
  if (!values || potentials_.size() < 2) return nullptr;
  if (update->whichflag != 0 && !compared_)
    error->all(FLERR, fmt::format("fix pair asks for {0} in step {1}, in which the models were not compared: "
                                  "write '{0} 1' in fix pair",
                                  field, update->ntimestep));
  values->resize(atom->nlocal + 1);
  return values->data();
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
