"""LAMMPS: building and finding the plugin, starting LAMMPS with it, writing its inputs.

Nothing here imports torch: LAMMPS's Python package asks for the plugin's folder on every import.
"""

from janus_md.lammps.build import build_custom, build_plugin
from janus_md.lammps.env import environment
from janus_md.lammps.inputs import input_lines, write_data, write_input
from janus_md.lammps.plugin_path import installed_versions, plugin_folder, plugin_path
from janus_md.lammps.run import run

__all__ = [
    "build_custom",
    "build_plugin",
    "environment",
    "input_lines",
    "installed_versions",
    "plugin_folder",
    "plugin_path",
    "run",
    "write_data",
    "write_input",
]
