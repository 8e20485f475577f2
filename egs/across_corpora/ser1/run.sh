#!/usr/bin/env bash
# Several corpora as one: sets that their recipes have prepared (stage 1 of each) become one training set, and test sets
# of any corpus, with common labels; README.md has the whole order. exp/<name>/<experiment> gets the results.
#   ./run.sh --train_sets "emodb:fold1/train ravdess:fold4/train" --valid_sets "emodb:fold1/valid ravdess:fold4/valid" \
#       --test_on "emodb:fold1/test ravdess:fold4/test" --whisper_model openai/whisper-base
set -euo pipefail

## options
# Sets (all other options are those of ser.sh, below). A set is corpus:directory below its dump, such as
# emodb:fold1/train; corpus:set[name=value] is the part of it whose table utt2<name> has the value, [name!=value] the rest
train_sets=""               # sets to train on
valid_sets=""               # sets that choose the model
test_on=""                  # test sets, each scored apart; sets that are joined by + are one
corpora=conf/corpora.yaml   # path to read: dump directories, languages and common labels of the corpora
name=""                     # of data/<name>, dump/<name>, exp/<name>; empty: from the training sets
## end of options

export paths_from=${PWD}
cd "$(dirname "${BASH_SOURCE[0]}")"
passes_to=./ser.sh
. ../../TEMPLATE/ser1/utils/parse_options.sh  # not by the link utils: it says so where a clone has no links
parse_options "$@"
for option in train_sets valid_sets test_on; do
    [[ ${!option} == *[![:space:]]* ]] || usage_error "--${option} is missing"
done
[[ " ${passed[*]} " != *" --"@(local_data_opts|corpus_dir)[\ =]* ]] \
    || usage_error "--local_data_opts and --corpus_dir: what local/data.sh needs has options of its own here"

declare -A instead=([train_set]=train_sets [valid_set]=valid_sets [test_sets]=test_on)
for option in "${!instead[@]}"; do
    [[ " ${passed[*]} " != *" --${option}"[\ =]* ]] || usage_error "--${option}: here it is --${instead[${option}]}"
done
[[ " ${passed[*]} " != *" --folds"[\ =]* ]] \
    || usage_error "--folds: here a fold is a part of a set's name, such as emodb:fold1/train or emodb:all[fold=1]"

file_name() {  # of a list of sets
    local list=${1//!=/-not-}
    tr -cs 'A-Za-z0-9.=-' _ <<<"${list//]/}" | sed 's/^[_.=-]*//; s/_$//'
}

name=${name:-$(file_name "${train_sets}")}
[[ ${name} =~ ^[A-Za-z0-9_][A-Za-z0-9_.=-]{0,99}$ ]] \
    || usage_error "the combination would be called '${name}'; give it a --name of at most 100 letters and digits"
corpora=$(realpath -sm --relative-base="${PWD}" -- "${corpora}")  # the same word wherever the user stands
data_opts=("${corpora}" "train=${train_sets}" "valid=${valid_sets}")
if [ -d "exp/${name}" ] && [ -f "data/${name}/.made_with" ]; then
    IFS= read -r made_with <"data/${name}/.made_with"
    [[ ${made_with} == "local/data.sh ${data_opts[*]} "* ]] \
        || usage_error "exp/${name} was trained on other sets (${made_with#local/data.sh }); give another --name"
fi
test_sets=()
read -r -a test_words <<<"${test_on}"
for word in "${test_words[@]}"; do
    set_name=test_$(file_name "${word}")
    set_name=${set_name//=/_}
    [[ " ${test_sets[*]} " != *" ${set_name} "* ]] || usage_error "--test_on: two test sets would be called ${set_name}"
    test_sets+=("${set_name}")
    data_opts+=("${set_name}=${word//+/ }")
done
. ./path.sh

./ser.sh \
    --datadir "data/${name}" --dumpdir "dump/${name}" --expdir "exp/${name}" \
    --lang en \
    --tasks "asr gender emotion" \
    --test_sets "${test_sets[*]}" \
    --score_by corpus \
    --local_data_opts "$(python -c 'import shlex, sys; print(shlex.join(sys.argv[1:]))' "${data_opts[@]}")" \
    --ser_config conf/train_serialmtl.yaml \
    --inference_config conf/decode.yaml \
    --paths_from "${paths_from}" "${passed[@]}"
