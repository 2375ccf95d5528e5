#!/usr/bin/env bash
# Silicon: train on PBE data, export, melt a crystal in LAMMPS, look at the liquid's structure.
#
#   MINUTES=29 CELLS=6 STEPS=20000 DATA=../../../shared/data ./run.sh OUT
#
# MINUTES of training, CELLS³ cubic cells of 8 atoms, STEPS of 1 fs in each stage of the melt.
set -euo pipefail

out=${1:-silicon-run}
here=$(cd "$(dirname "$0")" && pwd)
data=${DATA:-$here/../../../shared/data}
minutes=${MINUTES:-29}
ranks=${RANKS:-2}

janus-md train silicon -o "$out/run" --set "data.root=$data" "train.max_minutes=$minutes" ${SETTINGS:-}
janus-md eval "$out/run" "$data/mlearn/Si-test.extxyz" --json "$out/errors.json"
janus-md export "$out/run" -o "$out/silicon.janus.pt"

cp "$here/in.melt" "$out/"
cd "$out"
janus-md lammps run -n "$ranks" -- -in in.melt -var cells "${CELLS:-6}" -var steps "${STEPS:-20000}"
python "$here/plot_rdf.py" rdf.txt rdf.png
