#!/usr/bin/env bash
# One of the 32 corpora of EmoBox, by its lists and folds; exp/<corpus>/<experiment> gets the results. Without more
# options the emotion alone is predicted (STL SER); README.md has the other systems.
#   ./run.sh --emobox EmoBox --downloads downloads --corpus ravdess --whisper_model openai/whisper-base
#   ./run.sh ... --folds "1 2" --stage 3                the same options in every call
set -euo pipefail

## options
# EmoBox (all other options are those of ser.sh, below)
emobox=""              # path to read: clone of https://github.com/emo-box/EmoBox
downloads=""           # path to read: what EmoBox's lists call downloads/, with a directory for each corpus
corpus=""              # which, by the name that it has in EmoBox's data/, such as ravdess
layout=emobox          # emobox: files lie as the lists say; published: --downloads is the corpus as its authors publish it
transcripts=""         # path to read: table `key words...` for the task asr; EmoBox has no transcripts
transcripts_by=""      # who wrote them, if no human did, such as whisper-base_zero-shot; results name it
transcribe=false       # instead: --whisper_model writes the transcripts (local/with_text.sh), in stage 1
allow_missing=false    # leave out utterances whose audio is missing
mixed_lang=en          # language token of a corpus with several languages (asvpesd; esd's are known by speaker)
## end of options

export paths_from=${PWD}
called_from=${PWD}
cd "$(dirname "${BASH_SOURCE[0]}")"
passes_to=./ser.sh
. ../../TEMPLATE/ser1/utils/parse_options.sh  # not by the link utils: it says so where a clone has no links
parse_options "$@"
for name in emobox downloads corpus; do
    [ -n "${!name}" ] || usage_error "--${name} is missing"
done
[[ " ${passed[*]} " != *" --local_data_opts"[\ =]* ]] \
    || usage_error "--local_data_opts: what local/data.sh needs has options of its own here"
[[ ${transcribe} == false || -z ${transcripts}${transcripts_by} ]] \
    || usage_error "--transcribe and --transcripts or --transcripts_by are given; the text is from one of them"
[[ -n ${transcripts} || -z ${transcripts_by} ]] \
    || usage_error "--transcripts_by '${transcripts_by}' says who wrote --transcripts, which is missing"
[[ ${corpus} =~ ^[A-Za-z0-9_-]+$ ]] || usage_error "--corpus is '${corpus}'; write a name such as ravdess"
. ./path.sh

about=$(python local/describe.py --emobox "${emobox}" --corpus "${corpus}")
read -r lang digest folds <<<"${about}"
[ "${lang}" != mixed ] || lang=${mixed_lang}
for name in emobox downloads transcripts; do  # the same words wherever the user stands
    [ -z "${!name}" ] || printf -v "${name}" '%s' "$(realpath -sm -- "${!name}")"
done
data_opts=(--emobox "${emobox}" --downloads "${downloads}" --corpus "${corpus}" --layout "${layout}"
    --allow_missing "${allow_missing}"
    --lists_digest "${digest}")  # so that stage 1 prepares anew where EmoBox's lists have changed
ser=(./ser.sh)
[[ ${transcribe} == false && -z ${transcripts} ]] || ser=(local/with_text.sh "${transcripts}" "${transcripts_by}")
card=data/${corpus}/data_card.yaml  # left as it is where it says the same: stage 7 looks at its time
card_text=$(sed "s/CORPUS/${corpus}/" conf/data_card.yaml)
mkdir -p "${card%/*}"
[[ -f ${card} && $(<"${card}") == "${card_text}" ]] || echo "${card_text}" >"${card}"

# Some of EmoBox's own folds share speakers; RESULTS.md says how many. Films are read by commands of local/data.sh.
"${ser[@]}" \
    --datadir "data/${corpus}" --dumpdir "dump/${corpus}" --expdir "exp/${corpus}" \
    --lang "${lang}" \
    --tasks emotion \
    --folds "${folds}" \
    --allow_shared_speakers true \
    --allow_pipes true \
    --local_data_opts "$(python -c 'import shlex, sys; print(shlex.join(sys.argv[1:]))' "${data_opts[@]}")" \
    --ser_config conf/train_serialmtl.yaml \
    --inference_config conf/decode.yaml \
    --data_card "${card}" \
    --paths_from "${called_from}" "${passed[@]}"  # of which some may come after a --paths_from of their own
