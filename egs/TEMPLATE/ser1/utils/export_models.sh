# shellcheck shell=bash
# shellcheck disable=SC2154  # the options are ser.sh's
# The averaged model of each fold as a Hugging Face directory and, with --ctranslate2, for CTranslate2. For ser.sh:
#   export_models
# The card of a model has the figures of stage 6 that are there, and what data_card says about the corpus. The model for
# CTranslate2 decodes the first test set, and has to give the same labels.

export_models() {
    local to=${exp}${each}/export from=${dumpdir}${each}/${test_sets[0]} result part scored=yes
    local inputs=("${exp}${each}/ave.safetensors") card=()
    for part in "${parts[@]}"; do need "${exp}${part}/ave.safetensors" 4; done
    if [ -f "${data_card}" ]; then
        inputs+=("${data_card}")
        card=(--data_card "${data_card}")
    fi
    result=decode_${inference_tag}/${test_sets[0]}/score/result.json
    for part in "${parts[@]}"; do [ -f "${exp}${part}/${result}" ] || scored=""; done
    [ -z "${scored}" ] || inputs+=("${exp}${each}/${result}")
    array_for_folds 7 "export: ${exp}${each}/ave.safetensors -> ${to}" train_cmd "${exp}${each}/log/export.log" \
        "${to}/.made_with" export "${inputs[@]}" -- \
        python -m whisper_er.bin.export --exp_dir "${exp}${each}" --out_dir "${to}" ${card[@]+"${card[@]}"}

    [ -n "${ctranslate2}" ] || return 0
    for part in "${parts[@]}"; do need "${dumpdir}${part}/${test_sets[0]}" 1; done
    array_for_folds 7 "export for CTranslate2: ${to} -> ${to}_ctranslate2" decode_cmd \
        "${exp}${each}/log/export_ctranslate2.log" "${to}_ctranslate2/.made_with" \
        "${ctranslate2} allow_different=${ctranslate2_allow_different} ${decode_args[*]+${decode_args[*]}}" \
        "${to}" "${from}" "${inference_config}" -- \
        python -m whisper_er.bin.export_ctranslate2 --export_dir "${to}" --out_dir "${to}_ctranslate2" \
        --data_dir "${from}" --quantization "${ctranslate2}" --allow_different "${ctranslate2_allow_different}" \
        --config "${inference_config}" ${decode_args[@]+"${decode_args[@]}"}
}
