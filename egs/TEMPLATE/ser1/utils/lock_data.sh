# shellcheck shell=bash
# shellcheck disable=SC2154  # datadir and dumpdir are ser.sh's
# One run.sh at a time makes data and token lists. Sourced by ser.sh:
#   lock_data STAGE     waits for a run that has the lock: it may make just what this one needs
#   unlock_data
# The kernel frees the locks however the run ends. Where this user may not write, nothing is made and nothing locked.

data_locks=()

lock_data() {
    local directory directories=("${datadir}") lock
    mkdir -p "${datadir}" "${dumpdir}"
    [ "${dumpdir}" -ef "${datadir}" ] || directories+=("${dumpdir}")
    for directory in "${directories[@]}"; do
        { exec {lock}>>"${directory}/.run.lock"; } 2>/dev/null || continue
        if ! flock --nonblock "${lock}"; then
            say "$1" "waiting for another run.sh, which makes ${directory}: $(<"${directory}/.run.lock")"
            flock "${lock}" || say "$1" "no locks in ${directory}: see to it that one run at a time works there"
        fi
        echo "process $$ on ${HOSTNAME}${SLURM_JOB_ID:+, Slurm job ${SLURM_JOB_ID}}, since $(date '+%Y-%m-%d %H:%M:%S')" \
            >"${directory}/.run.lock"
        data_locks+=("${lock}")
    done
}

unlock_data() {
    local lock
    for lock in ${data_locks[@]+"${data_locks[@]}"}; do
        flock --unlock "${lock}"  # also for what was started here and runs on
        exec {lock}>&-
    done
    data_locks=()
}
