#!/bin/bash
# Workers of a search under Slurm: each task of the array is one, on any node that reaches the
# study's database. Create the study first, then submit this with its folder:
#
#   lightning-hparams search --config fit.yaml --sweep sweep.yaml --launcher none
#   sbatch --array=0-7 --cpus-per-task=4 --gres=gpu:1 examples/slurm.sh studies/NAME
#
# `storage:` in sweep.yaml must be PostgreSQL for several nodes, and the folder on a shared disk,
# for checkpoints. A worker that is cancelled, preempted or out of time writes a checkpoint and puts
# its trial back into the queue; submit the same command again to go on.
#SBATCH --job-name=search
#SBATCH --array=0-3
#SBATCH --time=24:00:00
# The worker is told a minute before its time is over; B: it, as there are no steps beside it.
#SBATCH --signal=B:USR1@60
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=search-%A_%a.log

export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
# Replace the shell, which would keep signals to itself.
exec "${PYTHON:-python}" -m lightning_hparams.search.worker "$1" --index "${SLURM_ARRAY_TASK_ID:-0}"
