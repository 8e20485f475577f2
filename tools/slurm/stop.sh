#!/usr/bin/env bash
# End the Slurm that tools/slurm/start.sh STATE_DIR started, and its jobs: tools/slurm/stop.sh STATE_DIR
# What STATE_DIR holds stays, for its logs.
set -euo pipefail

PATH+=:/usr/sbin
dir=$(cd "$1" && pwd)
export SLURM_CONF=${dir}/slurm.conf
# Jobs first: what a node runs outlives its slurmd by design.
squeue -h -o %A | sort -u | xargs -r scancel || true
for ((tries = 0; tries < 150; tries++)); do
    [ -n "$(squeue -h 2>/dev/null)" ] || break
    sleep 0.1
done
for pid_file in "${dir}"/slurmd.*.pid "${dir}/slurmctld.pid" "${dir}/munged.pid"; do
    # A pid file may be stale and its number another's: only a process that was given our directory is ours.
    pid=$(cat "${pid_file}" 2>/dev/null) || continue
    { tr '\0' '\n' <"/proc/${pid}/environ"; } 2>/dev/null | grep -qxF "SLURM_CONF=${SLURM_CONF}" || continue
    kill "${pid}"
    for ((tries = 0; tries < 50; tries++)); do
        kill -0 "${pid}" 2>/dev/null || break
        sleep 0.1
    done
done
