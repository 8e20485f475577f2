# shellcheck shell=bash
# shellcheck disable=SC2154  # folds is ser.sh's
# One command for each fold that is out of date. Sourced by ser.sh:
#   for_folds STAGE WHAT CMD LOG STAMP OPTIONS INPUT... -- COMMAND...
#   array_for_folds ...
# for_folds runs one job for all of them, which loads the program once: it gets --folds (whisper_er/bin/__init__.py).
# array_for_folds, for what takes long, makes an array of jobs; one that fails costs the others nothing.
# In every word JOB stands for the number of the fold; without folds the command is run once. WHAT is said, CMD the name
# of an array such as train_cmd. A job that has ended well stamps what it made;
# one that fails for a fold has stamped none of its folds, and does all of them again.

for_folds() { run_for_folds together "$@"; }
array_for_folds() { run_for_folds apart "$@"; }

run_for_folds() {
    local how=$1 stage=$2 what=$3 log=$5 stamp=$6 options=$7 fold inputs=() stale=() stamps=() job=() given=()
    local -n run_with=$4
    shift 7
    while [ "$1" != -- ]; do
        inputs+=("$1")
        shift
    done
    for fold in "${folds[@]:-}"; do
        up_to_date "${stamp//JOB/${fold}}" "${options}" "${inputs[@]//JOB/${fold}}" || stale+=("${fold}")
    done
    [ ${#stale[@]} -gt 0 ] || return 0
    say "${stage}" "$(in_words "${what} (log: ${log})" "${stale[@]}")"
    stamps=("${stamp}")
    if [ ${#folds[@]} -gt 0 ] && [ "${how}" == apart ]; then
        job=("$(job_list "${stale[@]}")")
    elif [ ${#folds[@]} -gt 0 ]; then
        stamps=()
        for fold in "${stale[@]}"; do stamps+=("${stamp//JOB/${fold}}"); done
        given=(--folds "${stale[*]}")
    fi
    "${run_with[@]}" --name "${what%%:*}" ${job[@]+"${job[@]}"} "${log}" \
        utils/stamped.sh "${options}" "${stamps[@]}" "$@" ${given[@]+"${given[@]}"}
}

# JOB=1,3,5 of the words 1 3 5
job_list() { local IFS=,; echo "JOB=$*"; }

# in_words TEXT FOLD...: TEXT with the folds for JOB, such as exp/fold{1,2,3}
in_words() {
    local IFS=, text=$1 numbers
    shift
    numbers=$*
    [ $# -eq 1 ] || numbers={${numbers}}
    echo "${text//JOB/${numbers}}"
}
