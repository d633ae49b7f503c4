#!/usr/bin/env bash
# One recipe on one or more machines with torchrun. Run the same line on each; whichever is up first waits for the rest.
#
#   bash launch/torchrun.sh gpt2-124m                                            # one machine, all its GPUs
#   NODES=2 RANK0=host-a bash launch/torchrun.sh gpt2-355m --seed 7              # the same on host-a and on host-b
#
# Everything after the recipe goes to `neogpt pretrain`. Start the line again after any interruption: it resumes.
# RUN must be a folder that all machines share, and so must NEOGPT_HOME (prepared data), unless there is one machine.
set -euo pipefail

recipe=${1:?usage: bash launch/torchrun.sh RECIPE [SETTINGS]}
shift

nodes=${NODES:-1}
processes=${PROCESSES:-gpu}          # a machine: a number, or all GPUs
rank0=${RANK0:-localhost}            # a machine that all others reach, the same name on each
port=${PORT:-29400}
run=${RUN:-runs/$recipe}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

if [ "$nodes" -eq 1 ]; then
  meet=(--standalone)
else
  meet=(--nnodes "$nodes" --rdzv-backend c10d --rdzv-endpoint "$rank0:$port" --rdzv-id "${JOB:-$recipe}")
fi

exec torchrun "${meet[@]}" --nproc-per-node "$processes" -m -- \
  neogpt pretrain "$recipe" --run "$run" --resume auto "$@"
