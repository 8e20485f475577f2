#!/usr/bin/env bash
# Every experiment of the paper, and a report that puts our figures beside the paper's: exp/paper/REPORT.md.
#   ./paper.sh --iemocap /path/to/IEMOCAP_full_release --run_opts "--ngpu 1 --gpu_inference true"
#   ./paper.sh --dry_run true                          what there is to do, and how far it is
#   ./paper.sh --systems "conventional a_g_s" --models base
#   ./paper.sh --preset paper_espnet ...               with other assumptions where the paper says nothing (conf/paper_*)
# A cell is a system on a model (paper/systems.yaml), one call of run.sh with all its folds, run as cmd.sh says. Called
# again, it does what is missing and writes the report anew.
# shellcheck disable=SC1091  # what is sourced is checked by itself
set -euo pipefail

## options
# What
iemocap=""             # path to read: IEMOCAP_full_release; needed until data/ is prepared
paper_config=paper/systems.yaml # path to read: systems, models, and the paper's figures
systems=""             # systems to run, such as "conventional a_g_s"; empty: all
models=""              # models to run, such as "base"; empty: all
folds="1 2 3 4 5"      # test sessions
seeds=""               # seeds to train with, such as "1 2 3"; empty: that of the configurations

# How
preset=""              # assumptions where the paper says nothing: paper_transformers or paper_espnet; empty: conf/ itself
ser_args=""            # changes to the training of every trained cell, such as "model.pad=30s"
inference_args=""      # changes to the decoding of every cell
run_opts=""            # more options of run.sh, such as "--ngpu 1 --gpu_inference true"
cells_at_once=1        # cells that run at the same time
expdir=""              # path to write: experiments, and in paper/ the report; empty: exp, or exp/<preset>
dry_run=false          # only list the cells and how far they are
report_only=false      # only write the report of what has been scored
wer_protocols=false    # instead: Whisper before fine-tuning by every convention of WER -> paper/WER_PROTOCOLS.md
## end of options

export paths_from=${PWD}  # also of run_opts
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../TEMPLATE/ser1/utils/parse_options.sh  # not by the link utils: it says so where a clone has no links
. ./paper/preset.sh
parse_options "$@"
called=$(printf ' %q' ./paper.sh "${parsed[@]}")
[ -z "${preset}" ] || check_preset "${preset}"
expdir=${expdir:-exp${preset:+/${preset}}}
[ "${cells_at_once}" -ge 1 ] || usage_error "--cells_at_once is '${cells_at_once}'; it must be at least 1"
for name in iemocap paper_config expdir ser_args inference_args run_opts; do  # the launcher replaces it
    [[ ${!name} != *JOB* ]] || usage_error "--${name} is '${!name}'; JOB in it would be taken for a number"
done
declare -a checked
split_words checked "${run_opts}"
. ./path.sh

chosen=(--paper_config "${paper_config}" --systems "${systems}" --models "${models}" --folds "${folds}"
    --seeds "${seeds}" --expdir "${expdir}" --preset "${preset}")
how=(--iemocap="${iemocap}" --ser_args="${ser_args}" --inference_args="${inference_args}" --run_opts="${run_opts}")
cells() { python paper/cells.py "$1" "${chosen[@]}" "${@:2}"; }

if [ "${wer_protocols}" == true ]; then
    action=run
    [ "${report_only}" == false ] || action=table
    [ "${dry_run}" == false ] || action=list
    python paper/wer_protocols.py "${action}" "${chosen[@]}" "${how[@]}" --command "${called# }"
    exit
fi
if [ "${dry_run}" == true ]; then
    cells list
    exit
fi
if [ "${report_only}" == false ]; then
    number=$(cells count)
    cells prepare "${how[@]}"
    cells list
    echo "logs of the cells: ${expdir}/paper/log/cell.<cell>.log; ./paper.sh --dry_run true shows how far they are"
    # Nothing but a process per cell: where its stages run is for cmd.sh to say. --gpu 1 leaves them the GPUs in sight.
    utils/launch.py --backend local --gpu 1 --max_jobs_run "${cells_at_once}" --name paper JOB=1:"${number}" \
        "${expdir}/paper/log/cell.JOB.log" python paper/cells.py run --cell JOB "${chosen[@]}" "${how[@]}"
fi
python paper/report.py "${chosen[@]}" --command "${called# }"
