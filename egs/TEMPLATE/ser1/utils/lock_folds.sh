# shellcheck shell=bash
# shellcheck disable=SC2154  # exp and parts are ser.sh's
# One run.sh at a time in the directories of an experiment. Sourced by ser.sh:
#   lock_folds   from here to the end of this run, for all of its folds that have a directory
# The kernel frees the locks however the run ends. A training also locks its directory itself (whisper_er/base/files.py).

declare -A folds_locked

lock_folds() {
    local part directory lock
    for part in "${parts[@]}"; do
        directory=${exp}${part}
        if [ ! -d "${directory}" ] || [ -n "${folds_locked[${directory}]:-}" ]; then continue; fi
        exec {lock}>>"${directory}/.run.lock"
        flock --nonblock "${lock}" || die "${directory}: another run.sh works here; wait for it, or stop it"
        folds_locked[${directory}]=yes
    done
}
