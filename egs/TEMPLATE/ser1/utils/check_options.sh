# shellcheck shell=bash
# shellcheck disable=SC2154  # the options are ser.sh's
# What ser.sh's options may be; what they may not is one line and exit 2. Sourced by ser.sh after parse_options.sh.

words() { [[ $1 =~ ^\ *$2(\ +$2)*\ *$ ]]; }  # words LIST PATTERN: one word or more, each of the pattern

check_options() {
    local name number='[1-9][0-9]*' set_name='[A-Za-z0-9_][A-Za-z0-9_.-]*'
    [[ ${token_type} == whisper || ${token_type} == bpe || ${token_type} == none ]] \
        || usage_error "--token_type is '${token_type}'; it must be whisper, bpe or none"
    [[ ${audio_format} =~ ^(wav|flac)(\.ark)?$ ]] \
        || usage_error "--audio_format is '${audio_format}'; it must be wav, flac, wav.ark or flac.ark"
    [[ ${silent_audio} == error || ${silent_audio} == keep ]] \
        || usage_error "--silent_audio is '${silent_audio}'; it must be error or keep"
    [ -z "${encoder_model}" ] || [ -z "${whisper_model}" ] \
        || usage_error "--encoder_model and --whisper_model are both given; an experiment has one of them"
    [[ ${valid_split} == session || ${valid_split} =~ ^random:0?\.[0-9]+$ ]] \
        || usage_error "--valid_split is '${valid_split}'; it must be session or random:<share>, such as random:0.1"
    [ -z "${seeds}" ] || words "${seeds}" "${number}" \
        || usage_error "--seeds is '${seeds}'; write numbers from 1 on, such as \"1 2 3\""
    [ -z "${score_by}" ] || words "${score_by}" '[a-z][a-z0-9_]*' \
        || usage_error "--score_by is '${score_by}'; write names such as \"style\""
    [[ ${ctranslate2} =~ ^(|float32|b?float16|int16|int8(_float32|_b?float16)?)$ ]] \
        || usage_error "--ctranslate2 is '${ctranslate2}'; it must be empty, or a quantization, such as float32 or int8"
    for name in nj inference_nj num_nodes bpe_size; do
        [ "${!name}" -ge 1 ] || usage_error "--${name} is '${!name}'; it must be at least 1"
    done
    [[ ${stage} -ge 1 && ${stop_stage} -le 7 && ${stage} -le ${stop_stage} ]] \
        || usage_error "--stage ${stage} --stop_stage ${stop_stage}: stages run from 1 to 7, the first before the last"
    [ -z "${skip_stages}" ] || words "${skip_stages}" '[1-7]' \
        || usage_error "--skip_stages is '${skip_stages}'; write stages from 1 to 7, such as \"1 2\""
    [ -z "${folds}" ] || words "${folds}" "${number}" \
        || usage_error "--folds is '${folds}'; write numbers from 1 on, such as \"1 2 3\""
    words "${tasks}" '[a-z][a-z0-9_]*' || usage_error "--tasks is '${tasks}'; write names such as \"asr emotion\""
    [ -z "${open_tasks}" ] || words "${open_tasks}" '[a-z][a-z0-9_]*' \
        || usage_error "--open_tasks is '${open_tasks}'; write names such as \"speaker\""
    for name in train_set valid_set test_sets; do
        words "${!name}" "${set_name}" || usage_error "--${name} is '${!name}'; write names of sets, such as train"
    done
    [ -z "${folds}" ] \
        || { [ "${train_set} ${valid_set}" == "train valid" ] && words "${test_sets}" 'test(_[A-Za-z0-9_.-]+)?'; } \
        || usage_error "with --folds the sets are called train, valid and test, and copies of the test set" \
            "test_<name> (whisper-er augment_dir writes them); --folds \"\" uses ready sets"
    [[ " ${train_set} ${test_sets} " != *" ${valid_set} "* && " ${test_sets} " != *" ${train_set} "* ]] \
        || usage_error "one set serves twice in --train_set, --valid_set and --test_sets: a test set selects nothing"
    # What they name lies in expdir and datadir.
    for name in ser_tag inference_tag lang; do
        [[ ! /${!name}/ =~ /\.\.?/ ]] || usage_error "--${name} is '${!name}'; it would lead out of its directory"
    done
    for name in dumpdir datadir expdir corpus_dir ser_config inference_config data_card whisper_model encoder_model; do
        [[ ${!name} != -* ]] || usage_error "--${name} is '${!name}'; it would be taken for an option: write ./${!name}"
        [[ ${!name} != *[[:cntrl:]]* ]] || usage_error "--${name} is '${!name}'; it holds a line break or the like"
    done
    [[ ${inference_model} =~ ^${set_name}$ ]] \
        || usage_error "--inference_model is '${inference_model}'; write the name of a file of the experiment"
    # The launcher replaces JOB in every word of a command by the job's number.
    for name in dumpdir datadir expdir train_set valid_set test_sets lang scales ser_config ser_args ser_tag \
        inference_config inference_args inference_tag inference_model data_card whisper_model encoder_model; do
        [[ ${!name} != *JOB* ]] || usage_error "--${name} is '${!name}'; JOB in it would be taken for a number"
        [[ ${name} != *dir || -n ${!name} ]] || usage_error "--${name} is empty"
    done
}
