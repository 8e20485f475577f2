#!/usr/bin/env bash
# ser.sh for a corpus whose transcripts are not its own: those of a table, or of --whisper_model as it was pretrained.
# The corpus is first made without text, as always; the data with text get directories of their own, which read the same
# audio, so that systems with and without text work side by side. run.sh calls it as it calls ser.sh, but for two words in
# front: the table and who wrote it, both empty where Whisper writes it:
#   local/with_text.sh words.txt "" --datadir data/ravdess --dumpdir dump/ravdess ...           data/ravdess_text
#   local/with_text.sh words.txt large_zero-shot --datadir data/ravdess ...                     ..._text_large_zero-shot
#   local/with_text.sh "" "" --datadir data/ravdess --whisper_model openai/whisper-base ...     ..._whisper-base
# data/ravdess/transcripts_whisper-base/text is made once; remove its directory to have it made anew.
# shellcheck disable=SC1091  # what is sourced is checked by itself
set -euo pipefail

## options
# what the transcripts depend on (all other options are those of ser.sh)
datadir=data           # path to write: data without text
dumpdir=dump           # path to write: the same as 16 kHz mono
local_data_opts=""     # options of local/data.sh
whisper_model=""       # path to read, or hub name: pretrained Whisper that transcribes, and is then fine-tuned
tasks=emotion          # what is predicted; without asr, the data are those without text
lang=en                # language of the speech
stage=1                # first stage to run; beyond 1, nothing is transcribed
skip_stages=""         # stages to leave out
gpu_inference=false    # transcribe on a GPU
## end of options

text=$1 text_by=$2
shift 2
export paths_from=${PWD}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
passes_to=./ser.sh
. ./utils/parse_options.sh
. ./utils/up_to_date.sh
parse_options "$@"
sanitise() { echo "${1//[^A-Za-z0-9_.=-]/_}"; }

transcribe() {  # transcribe STAMP: whisper_model writes the text of the data without it, if it has not done so
    local log options gpus=0 cmd
    # By content, since the same data may be prepared anew.
    options="${lang} $(cd "${dumpdir}/all" && { sha256sum wav.scp utt2num_samples utt2lang 2>/dev/null || true; } \
        | sha256sum | cut -c 1-16) ${source}"
    ! up_to_date "$1" "${options}" || return 0
    log=${dumpdir}/log/transcribe_${name}.log
    echo "$(date '+%Y-%m-%d %H:%M:%S') stage 1: transcribing: ${dumpdir}/all + ${whisper_model} -> ${text} (log: ${log})"
    . ./cmd.sh
    read -r -a cmd <<<"${decode_cmd}"
    if [ "${gpu_inference}" == true ]; then
        gpus=1
        read -r -a cmd <<<"${cuda_cmd} --gpu 1"
    fi
    utils/stamped.sh "${options}" "$1" -- "${cmd[@]}" --resume --name transcribing "${log}" \
        python -m whisper_er.bin.transcribe --data_dir "${dumpdir}/all" --whisper_model "${whisper_model}" \
        --lang "${lang}" --ngpu "${gpus}" --out "${text}"
}

if [[ " ${tasks} " != *" asr "* ]]; then
    echo "no asr in --tasks '${tasks}': ${datadir}, the data without text"
    exec ./ser.sh "${parsed[@]}" "${passed[@]}"
fi
stamp=""
name=$(sanitise "text${text_by:+_${text_by}}")
if [ -z "${text}" ]; then
    [ -n "${whisper_model}" ] || usage_error "--transcribe needs --whisper_model, the Whisper that transcribes"
    source=${whisper_model%/}
    [ ! -d "${source}" ] || source=$(realpath -s -- "${source}")
    name=$(sanitise "${source##*/}")
    text=${datadir}/transcripts_${name}/text text_by=${name}_zero-shot
    stamp=${text%/*}/.made_with
    [ ! -f "${stamp}" ] || read -r _ _ other <"${stamp}" || true
    [ -z "${other:-}" ] || [ "${other}" == "${source}" ] || usage_error "--whisper_model ${whisper_model}: ${text} is by" \
        "${other}, of the same name; give one of them another name (a link will do), or remove ${text%/*}"
fi
. ./path.sh
if [ "${stage}" -le 1 ] && [[ " ${skip_stages} " != *" 1 "* ]]; then
    ./ser.sh "${parsed[@]}" "${passed[@]}" --tasks emotion --stage 1 --stop_stage 1
    [ -z "${stamp}" ] || transcribe "${stamp}"
fi
# Its audio is 16 kHz mono already, and stays where it is: in wav, that is.
with_text="${local_data_opts} $(python -c 'import shlex, sys; print(shlex.join(sys.argv[1:]))' --formatted \
    "$(realpath -sm -- "${dumpdir}/all/wav.scp")" --transcripts "$(realpath -sm -- "${text}")" \
    ${text_by:+--transcripts_by "${text_by}"})"
./ser.sh "${parsed[@]}" --datadir "${datadir}_${name}" --dumpdir "${dumpdir}_${name}" \
    --local_data_opts "${with_text}" "${passed[@]}" --audio_format wav
