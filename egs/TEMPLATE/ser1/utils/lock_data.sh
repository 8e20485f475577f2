# shellcheck shell=bash
# shellcheck disable=SC2154  # datadir and dumpdir are ser.sh's
# One run.sh at a time makes data and token lists. Sourced by ser.sh:
#   lock_data STAGE     before a stage that makes some; waits for another run, which may make just what this one needs
#   unlock_data         before the stages that take days
# The kernel frees the locks however the run ends. Every user may lock: flock asks for no right to write.

data_locks=()

lock_data() {
    local directory directories=("${datadir}") file held holder lock
    [ ${#data_locks[@]} -eq 0 ] || return 0
    mkdir -p "${datadir}" "${dumpdir}"
    [ "${dumpdir}" -ef "${datadir}" ] || directories+=("${dumpdir}")
    for directory in "${directories[@]}"; do
        file=${directory}/.run.lock
        (umask 0; : >>"${file}") 2>/dev/null || true
        { exec {lock}<"${file}"; } 2>/dev/null || continue  # where nobody has written, and this user may not
        held=0
        flock --nonblock "${lock}" || held=$?
        if [ "${held}" -gt 1 ]; then
            say "$1" "${directory}: no locks here: see to it that one run at a time makes data"
        elif [ "${held}" -eq 1 ]; then
            holder=$(<"${file}")
            say "$1" "waiting for another run.sh, which makes what is in ${directory}${holder:+: ${holder}}"
            flock "${lock}"
        fi
        holder="process $$ on ${HOSTNAME}${SLURM_JOB_ID:+, Slurm job ${SLURM_JOB_ID}}, since $(date '+%Y-%m-%d %H:%M:%S')"
        { echo "${holder}" >"${file}"; } 2>/dev/null || true
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
