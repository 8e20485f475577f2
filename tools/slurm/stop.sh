#!/usr/bin/env bash
# End the Slurm that tools/slurm/start.sh STATE_DIR started, and its jobs: tools/slurm/stop.sh STATE_DIR
# STATE_DIR stays, for its logs.
set -euo pipefail

PATH+=:/usr/sbin
dir=$(cd "${1:?STATE_DIR is missing}" && pwd)
export SLURM_CONF=${dir}/slurm.conf

# A pid file may be stale and its number another's: only a process that was given our directory is ours.
is_ours() { { tr '\0' '\n' <"/proc/$1/environ"; } 2>/dev/null | grep -qxF "SLURM_CONF=${SLURM_CONF}"; }
wait_while() {  # wait_while COMMAND...: 15 seconds at most
    for ((tries = 0; tries < 150; tries++)); do
        "$@" || return 0
        sleep 0.1
    done
}
has_jobs() { [ -n "$(squeue -h 2>/dev/null)" ]; }

# Jobs first: what a node runs outlives its slurmd by design. Without a controller squeue would ask for minutes.
if is_ours "$(cat "${dir}/slurmctld.pid" 2>/dev/null || echo none)"; then
    squeue -h -o %A 2>/dev/null | sort -u | xargs -r scancel || true
    wait_while has_jobs
fi
for pid_file in "${dir}"/slurmd.*.pid "${dir}"/slurmctld.pid "${dir}"/munged.pid; do
    pid=$(cat "${pid_file}" 2>/dev/null) || continue
    is_ours "${pid}" || continue
    kill "${pid}"
    wait_while is_ours "${pid}"
done
