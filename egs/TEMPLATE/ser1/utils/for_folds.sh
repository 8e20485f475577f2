# shellcheck shell=bash
# shellcheck disable=SC2154  # folds is ser.sh's
# One command for each fold that is out of date, as one array of jobs. Sourced by ser.sh:
#   for_folds STAGE WHAT CMD LOG STAMP OPTIONS INPUT... -- COMMAND...
# In every word JOB stands for the number of the fold; without folds the command is run once. WHAT is said, CMD the name
# of an array such as train_cmd. Each job stamps what it made, so that one that fails costs the others nothing.

for_folds() {
    local stage=$1 what=$2 log=$4 stamp=$5 options=$6 fold inputs=() stale=() job=()
    local -n run_with=$3
    shift 6
    while [ "$1" != -- ]; do
        inputs+=("$1")
        shift
    done
    for fold in "${folds[@]:-}"; do
        up_to_date "${stamp//JOB/${fold}}" "${options}" "${inputs[@]//JOB/${fold}}" || stale+=("${fold}")
    done
    [ ${#stale[@]} -gt 0 ] || return 0
    say "${stage}" "$(in_words "${what} (log: ${log})" "${stale[@]}")"
    [ ${#folds[@]} -eq 0 ] || job=("$(job_list "${stale[@]}")")
    "${run_with[@]}" --name "${what%%:*}" ${job[@]+"${job[@]}"} "${log}" \
        utils/stamped.sh "${stamp}" "${options}" "${@:2}"
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
