#!/usr/bin/env bash
# Systems of conf/systems.yaml on corpora of EmoBox, and one table beside published figures: exp/leaderboard/LEADERBOARD.md.
#   ./leaderboard.sh --emobox EmoBox --downloads downloads --whisper_model openai/whisper-base
#   ./leaderboard.sh ... --corpora "ravdess emodb" --systems "frozen stl_ser" --run_opts "--ngpu 1 --gpu_inference true"
#   ./leaderboard.sh ... --dry_run true                    what there is to do, and how far it is
# A corpus is a call of systems.sh with all its folds, in exp/<corpus>, run as cmd.sh says. Called again, it does what is
# missing and writes the table anew.
# shellcheck disable=SC1091  # what is sourced is checked by itself
set -euo pipefail

## options
# What
emobox=""              # path to read: clone of https://github.com/emo-box/EmoBox
downloads=""           # path to read: has a directory for each corpus, by its name in EmoBox's data/
layout=emobox          # of these directories: emobox, as the lists say, or published, as the corpus' authors publish it
transcripts=""         # path to read: has a table <corpus>.txt of `key words...` for each corpus with transcripts
corpora=""             # corpora to run, such as "ravdess emodb"; empty: all that --downloads has
whisper_model=""       # path to read, or hub name: pretrained Whisper; its last part is in the names of the experiments
systems_config=conf/systems.yaml # path to read: systems
systems=""             # systems to run, such as "frozen stl_ser"; empty: all, with transcripts or without
folds=""               # of the folds of each corpus only these, such as "1 2"; empty: all
seeds=""               # seeds to train with, such as "1 2 3"; empty: that of the configurations
published=conf/published.csv # path to read: figures to put beside, corpus,system,ua,wa,f1,source; empty: none

# How
ser_args=""            # changes to the training of every system, such as "model.pad=30s"
inference_args=""      # changes to the decoding of every system, such as "dtype=bfloat16"
run_opts=""            # more options of run.sh, such as "--ngpu 1 --gpu_inference true"
corpora_at_once=1      # corpora that run at the same time
systems_at_once=1      # systems of a corpus that run at the same time
expdir=exp             # path to write: experiments of each corpus; the table is in its directory leaderboard
dry_run=false          # only list the corpora and their systems, and how far they are
report_only=false      # only write the table of what has been scored
## end of options

export paths_from=${PWD}  # also of run_opts
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./utils/parse_options.sh
parse_options "$@"
called=$(printf ' %q' ./leaderboard.sh "${parsed[@]}")
for name in emobox downloads; do
    [ -n "${!name}" ] || usage_error "--${name} is missing"
done
[[ ${layout} == emobox || ${layout} == published ]] || usage_error "--layout is '${layout}'; allowed: emobox published"
for name in corpora_at_once systems_at_once; do
    [ "${!name}" -ge 1 ] || usage_error "--${name} is '${!name}'; it must be at least 1"
done
for name in emobox downloads transcripts whisper_model systems_config expdir ser_args inference_args run_opts; do
    # the launcher replaces it
    [[ ${!name} != *JOB* ]] || usage_error "--${name} is '${!name}'; JOB in it would be taken for a number"
done
declare -a checked
for name in ser_args inference_args run_opts; do split_words checked "${!name}"; done
. ./path.sh
export PYTHONPATH=${PYTHONPATH}:${PWD}/utils  # the leaderboard is made of utils/systems.py

chosen=(--emobox="${emobox}" --downloads="${downloads}" --transcripts="${transcripts}" --corpora "${corpora}"
    --systems_config "${systems_config}" --whisper_model="${whisper_model}" --systems "${systems}" --folds "${folds}"
    --seeds "${seeds}" --expdir "${expdir}")
how=(--layout "${layout}" --ser_args="${ser_args}" --inference_args="${inference_args}" --run_opts="${run_opts}"
    --systems_at_once "${systems_at_once}")
leaderboard() { python local/leaderboard.py "$1" "${chosen[@]}" "${@:2}"; }

if [ "${dry_run}" == true ]; then
    leaderboard list
    exit
fi
failed=0
if [ "${report_only}" == false ]; then
    number=$(leaderboard count)
    leaderboard list
    echo "logs of the corpora: ${expdir}/leaderboard/log/<job>.log; with --dry_run true it says how far they are"
    # Nothing but a process per corpus: where its stages run is for cmd.sh to say. --gpu 1 leaves it the GPUs in sight.
    utils/launch.py --backend local --gpu 1 --max_jobs_run "${corpora_at_once}" --keep_going --name leaderboard \
        JOB=1:"${number}" "${expdir}/leaderboard/log/JOB.log" \
        python local/leaderboard.py run --job JOB "${chosen[@]}" "${how[@]}" || failed=1
fi
python local/leaderboard_table.py "${chosen[@]}" --published="${published}" --command "${called# }"
[ "${failed}" -eq 0 ] || leaderboard failed >&2
exit "${failed}"
