#!/usr/bin/env bash
# Every system of conf/systems.yaml on this corpus, and one table of them: exp/systems/SYSTEMS.md.
#   ./systems.sh --corpus_dir /path/to/corpus --whisper_model openai/whisper-base
#   ./systems.sh ... --run_opts "--ngpu 1 --gpu_inference true" --seeds "1 2 3"
#   ./systems.sh ... --systems "conventional a_s" --folds 1
#   ./systems.sh ... --dry_run true                        what there is to do, and how far it is
# A system is a call of run.sh with all its folds, in exp/<system>_<model>, run as cmd.sh says. Called again, it does
# what is missing and writes the table anew.
# shellcheck disable=SC1091  # what is sourced is checked by itself
set -euo pipefail

## options
# What
corpus_dir=""          # path to read: the corpus as published; needed until data/ is prepared
whisper_model=""       # path to read, or hub name: pretrained Whisper; its last part is in the names of the experiments
systems_config=conf/systems.yaml # path to read: systems, folds, and what the intervals draw
systems=""             # systems to run, such as "conventional a_s"; empty: all
folds=""               # folds to run, such as "1 2"; empty: those of systems_config
seeds=""               # seeds to train with, such as "1 2 3"; empty: that of the configurations

# How
ser_args=""            # changes to the training of every system, such as "model.pad=30s"
inference_args=""      # changes to the decoding of every system, such as "dtype=bfloat16"
run_opts=""            # more options of run.sh, such as "--ngpu 1 --gpu_inference true"
systems_at_once=1      # systems that run at the same time
expdir=exp             # path to write: experiments; the table is in its directory systems
dry_run=false          # only list the systems and how far they are
report_only=false      # only write the table of what has been scored
## end of options

export paths_from=${PWD}  # also of run_opts
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./utils/parse_options.sh
parse_options "$@"
called=$(printf ' %q' ./systems.sh "${parsed[@]}")
[ "${systems_at_once}" -ge 1 ] || usage_error "--systems_at_once is '${systems_at_once}'; it must be at least 1"
for name in corpus_dir whisper_model systems_config expdir ser_args inference_args run_opts; do
    # the launcher replaces it
    [[ ${!name} != *JOB* ]] || usage_error "--${name} is '${!name}'; JOB in it would be taken for a number"
done
declare -a checked
for name in ser_args inference_args run_opts; do split_words checked "${!name}"; done
. ./path.sh

chosen=(--systems_config "${systems_config}" --whisper_model="${whisper_model}" --systems "${systems}"
    --folds "${folds}" --seeds "${seeds}" --expdir "${expdir}")
how=(--corpus_dir="${corpus_dir}" --ser_args="${ser_args}" --inference_args="${inference_args}"
    --run_opts="${run_opts}")
systems() { python utils/systems.py "$1" "${chosen[@]}" "${@:2}"; }

failed=0
if [ "${dry_run}" == true ]; then
    systems list
    exit
fi
if [ "${report_only}" == false ]; then
    number=$(systems count)
    systems prepare "${how[@]}"
    systems list
    echo "logs of the systems: ${expdir}/systems/log/<job>.log; with --dry_run true it says how far they are"
    # Nothing but a process per job: where its stages run is for cmd.sh to say. --gpu 1 leaves it the GPUs in sight.
    utils/launch.py --backend local --gpu 1 --max_jobs_run "${systems_at_once}" --name systems JOB=1:"${number}" \
        "${expdir}/systems/log/JOB.log" python utils/systems.py run --job JOB "${chosen[@]}" "${how[@]}" || failed=1
fi
python utils/systems_table.py "${chosen[@]}" --command "${called# }"  # also after a failure: of what there is
exit "${failed}"
