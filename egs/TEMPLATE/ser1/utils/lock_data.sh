# shellcheck shell=bash
# shellcheck disable=SC2154  # datadir and dumpdir are ser.sh's
# One run.sh at a time makes data and token lists. Sourced by ser.sh:
#   lock_data STAGE     before a stage that makes some; waits for another run, which may make just what this one needs
#   unlock_data         before the stages that take days
# The kernel frees the locks however the run ends. Where this user may not write, nothing is made and nothing locked.

data_locks=()

lock_data() {
    local directory directories=("${datadir}") file holder lock
    [ ${#data_locks[@]} -eq 0 ] || return 0
    mkdir -p "${datadir}" "${dumpdir}"
    [ "${dumpdir}" -ef "${datadir}" ] || directories+=("${dumpdir}")
    for directory in "${directories[@]}"; do
        file=${directory}/.run.lock
        { exec {lock}>>"${file}"; } 2>/dev/null || continue
        if ! flock --nonblock "${lock}"; then
            holder=$(<"${file}")
            say "$1" "waiting for another run.sh, which makes what is in ${directory}${holder:+: ${holder}}"
            flock "${lock}" || say "$1" "${directory}: no locks here: see to it that one run at a time makes data"
        fi
        echo "process $$ on ${HOSTNAME}${SLURM_JOB_ID:+, Slurm job ${SLURM_JOB_ID}}, since $(date '+%Y-%m-%d %H:%M:%S')" \
            >"${file}"
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
