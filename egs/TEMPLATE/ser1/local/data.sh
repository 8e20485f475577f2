#!/usr/bin/env bash
# The corpus as published -> data directories. The only code that a new corpus needs; ser.sh calls it in stage 1, in the
# recipe directory, with --corpus_dir (if the user gave one) and the words of --local_data_opts. This is a stub; for
# audio files and a CSV, egs/TEMPLATE/README.md has the whole file: `whisper-er csv_to_data` writes all of what follows.
#
# Write ${datadir:-data}/all, with utt2fold, for cross-validation (run.sh --folds "1 2 3"), or the ready sets
# ${datadir:-data}/{train,valid,test} (run.sh --folds ""). A data directory holds, one `utterance-id value` a line,
# UTF-8, every table listing every utterance, in any order:
#   wav.scp      audio file, absolute or relative to the recipe directory; or file.ark:offset; or `command |`
#                (only with run.sh --allow_pipes true). Any rate, any number of channels: stage 1 makes it 16 kHz mono
#   text         transcript, if `asr` is in tasks; an id alone on its line has an empty one
#   utt2text_source  optional: who wrote the transcript if no human did, <who>_<how>, such as whisper-base_zero-shot
#   utt2spk      speaker; no speaker may be in two of train, valid and test
#   utt2<task>   label of every other task: utt2emotion, utt2gender, ...; an id alone on its line has no label
#   utt2fold     1 .. n (data/all only): fold k is tested on, fold k mod n + 1 validated on, the rest trained on
#   utt2set<k>   instead of it, for folds that are published as lists: train, valid or test, or no value
#   utt2lang     language of each utterance, such as de, where there are several: chooses Whisper's language token, and
#                what counts as a word in the WER; without a value, and without the file, it is --lang
#   segments     optional: `utterance-id recording-id start end` in seconds; wav.scp then lists recordings
#   .made_from   optional: files and directories, a path a line; if one of them changes, stage 1 makes the data anew
# Ids: no white space, no '/', no '-' or '.' in front. From Python, whisper_er.data.kaldi.write_dir writes all of it, whole
# or not at all. Check the corpus (its counts, say) and stop with one line that says what is wrong and what to do.
# shellcheck disable=SC1091  # what is sourced is checked by itself
set -euo pipefail

## options
corpus_dir=""  # path to read: the corpus as published
## end of options

. ./utils/parse_options.sh
parse_options "$@"
. ./path.sh

echo "error: local/data.sh is still the stub of the template: write it for this corpus (its comment says what)" >&2
echo "       corpus: ${corpus_dir:-not given}, to be written below: ${datadir:-data}" >&2
exit 1
