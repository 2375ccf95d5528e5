// Entry point: registers pair styles janus and janus/md.
#include "lammpsplugin.h"
#include "pair_janus.h"

#include "error.h"
#include "lammps.h"
#include "library.h"

#include <string>

#define JANUS_TEXT(x) #x
#define JANUS_STRING(x) JANUS_TEXT(x)

namespace {

// LAMMPS's classes have no stable layout, so the plugin runs only where its headers came from.
void *create(LAMMPS_NS::LAMMPS *lmp) {
  const int running = lammps_version(lmp);
  if (running != JANUS_LAMMPS_VERSION)
    lmp->error->all(FLERR, std::string("this Janus plugin was built for LAMMPS " JANUS_STRING(JANUS_LAMMPS_VERSION)
                                       " and cannot run in LAMMPS ") +
                               std::to_string(running) + ": build it again with 'janus-md lammps build'");
  const int held = lammps_extract_setting(lmp, "tagint");
  if (held != static_cast<int>(sizeof(LAMMPS_NS::tagint)))
    lmp->error->all(FLERR, "this Janus plugin was built for a LAMMPS whose atoms have IDs of " +
                               std::to_string(8 * sizeof(LAMMPS_NS::tagint)) + " bits, and here they have " +
                               std::to_string(8 * held) + ": build it again " + (held == 8 ? "with" : "without") +
                               " --bigbig");
  return new LAMMPS_NS::PairJanus(lmp);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void *lmp, void *handle, void *regfunc) {
  auto *registered = reinterpret_cast<lammpsplugin_regfunc *>(regfunc);
  lammpsplugin_t plugin{};
  plugin.version = static_cast<LAMMPS_NS::LAMMPS *>(lmp)->version;  // checked in create()
  plugin.style = "pair";
  plugin.info = "Janus-MD potentials (pair style janus, version " JANUS_PLUGIN_VERSION ")";
  plugin.author = "the Janus-MD developers";
  plugin.creator.v1 = create;
  plugin.handle = handle;
  for (const char *name : {"janus", "janus/md"}) {
    plugin.name = name;
    registered(&plugin, lmp);
  }
}
