#!/usr/bin/env bash
# ser.sh for a corpus without transcripts: those of --whisper_model, as it was pretrained, become the targets of asr.
# The corpus is first made without text, as always; its transcripts and the data that have them get directories of their
# own, which name the model. run.sh --transcribe true calls it as it calls ser.sh:
#   local/transcribe.sh --datadir data/ravdess --dumpdir dump/ravdess --whisper_model openai/whisper-base ...
# data/ravdess/transcripts_whisper-base/text is kept; remove it to have it made anew.
# shellcheck disable=SC1091  # what is sourced is checked by itself
set -euo pipefail

## options
# what the transcripts depend on (all other options are those of ser.sh)
datadir=data           # path to write: data without text; with text, ${datadir}_<model>
dumpdir=dump           # path to write: the same as 16 kHz mono; with text, ${dumpdir}_<model>
local_data_opts=""     # options of local/data.sh
whisper_model=""       # path to read, or hub name: pretrained Whisper that transcribes, and is then fine-tuned
tasks=emotion          # what is predicted, asr among it
lang=en                # language of the speech
stage=1                # first stage to run; beyond 1, nothing is transcribed
skip_stages=""         # stages to leave out
gpu_inference=false    # transcribe on a GPU
## end of options

export paths_from=${PWD}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
passes_to=./ser.sh
. ./utils/parse_options.sh
. ./utils/up_to_date.sh
parse_options "$@"
[ -n "${whisper_model}" ] || usage_error "--transcribe needs --whisper_model, the Whisper that transcribes"
[[ " ${tasks} " == *" asr "* ]] \
    || usage_error "--transcribe: asr is not among --tasks '${tasks}', so no transcript is needed; write \"asr ${tasks}\""
. ./path.sh
. ./cmd.sh

model=${whisper_model%/}
model=${model##*/}
model=${model//[^A-Za-z0-9_.=-]/_}
text=${datadir}/transcripts_${model}/text
if [ "${stage}" -le 1 ] && [[ " ${skip_stages} " != *" 1 "* ]]; then
    ./ser.sh "${parsed[@]}" "${passed[@]}" --tasks emotion --stage 1 --stop_stage 1
    options="${whisper_model} ${lang}"
    if ! up_to_date "${text%/*}/.made_with" "${options}" "${dumpdir}/all/wav.scp"; then
        log=${dumpdir}/log/transcribe_${model}.log
        echo "$(date '+%Y-%m-%d %H:%M:%S') stage 1: transcribing: ${dumpdir}/all + ${whisper_model} -> ${text} (log: ${log})"
        read -r -a cmd <<<"${decode_cmd}"
        gpus=0
        if [ "${gpu_inference}" == true ]; then
            gpus=1
            read -r -a cmd <<<"${cuda_cmd} --gpu 1"
        fi
        utils/stamped.sh "${options}" "${text%/*}/.made_with" -- "${cmd[@]}" --resume --name transcribing "${log}" \
            python -m whisper_er.bin.transcribe --data_dir "${dumpdir}/all" --whisper_model "${whisper_model}" \
            --lang "${lang}" --ngpu "${gpus}" --out "${text}"
    fi
fi
# Its audio is 16 kHz mono already, and stays where it is: in wav, that is.
with_text="${local_data_opts} $(python -c 'import shlex, sys; print(shlex.join(sys.argv[1:]))' --formatted \
    "$(realpath -sm -- "${dumpdir}/all")" --transcripts "$(realpath -sm -- "${text}")" \
    --transcripts_by "${model}_zero-shot")"
./ser.sh "${parsed[@]}" --datadir "${datadir}_${model}" --dumpdir "${dumpdir}_${model}" \
    --local_data_opts "${with_text}" "${passed[@]}" --audio_format wav
