#!/usr/bin/env bash
# One model over crystals and molecules from five sources, each a task with its own energy zero.
#
#   MINUTES=30 DATA=../../../shared/data ./run.sh OUT
set -euo pipefail

out=${1:-multitask-run}
here=$(cd "$(dirname "$0")" && pwd)
data=${DATA:-$here/../../../shared/data}

janus-md train universal -o "$out/run" --set "data.root=$data" "train.max_minutes=${MINUTES:-30}" ${SETTINGS:-}
janus-md eval "$out/run" "$data/molecules/ethanol-test.extxyz" --task ethanol --json "$out/ethanol.json"
janus-md eval "$out/run" "$data/molecules/3bpa-test.extxyz" --task 3bpa --json "$out/3bpa.json"

# The deployed file carries the elements it is for, and every task.
janus-md export "$out/run" -o "$out/organic.janus.pt" --elements H C N O
janus-md info "$out/organic.janus.pt"
python "$here/compare_tasks.py" "$out/organic.janus.pt"
