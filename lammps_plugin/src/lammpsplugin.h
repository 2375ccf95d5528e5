// What LAMMPS expects of a plugin (its lammpsplugin.h is not among the installed headers).
#pragma once

namespace LAMMPS_NS {
class LAMMPS;
}

extern "C" {
using lammpsplugin_factory1 = void *(LAMMPS_NS::LAMMPS *);
using lammpsplugin_factory2 = void *(LAMMPS_NS::LAMMPS *, int, char **);
using lammpsplugin_factory3 = void *(LAMMPS_NS::LAMMPS *, int, char **, int);

struct lammpsplugin_t {
  const char *version;  // of the LAMMPS the plugin was built for
  const char *style;    // "pair"
  const char *name;
  const char *info;
  const char *author;
  union {
    lammpsplugin_factory1 *v1;  // pair, bond, ... styles
    lammpsplugin_factory2 *v2;
    lammpsplugin_factory3 *v3;
  } creator;
  void *handle;
};

using lammpsplugin_regfunc = void(lammpsplugin_t *, void *);
}
