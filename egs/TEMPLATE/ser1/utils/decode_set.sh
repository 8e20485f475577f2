# shellcheck shell=bash
# Decode one set with one model, whole or in --inference_nj parts that are joined again. Sourced by ser.sh:
#   decode_set EXP_DIR DATA_DIR HYP_DIR LOG_DIR
# Reads ser.sh's options, its commands decode_cmd and cuda_cmd, and decode_args.

decode_set() {
    local cmd opts parts_dir=$4/parts gpus=0 hyps=() i
    cmd=("${decode_cmd[@]}" --num_threads $((OMP_NUM_THREADS > inference_nj ? OMP_NUM_THREADS / inference_nj : 1)))
    if [ "${gpu_inference}" == true ]; then
        gpus=1
        cmd=("${cuda_cmd[@]}" --gpu 1)
    fi
    opts=(--config "${inference_config}" --exp_dir "$1" --ngpu "${gpus}"
        --allow_shared_speakers "${allow_shared_speakers}")
    say 5 "decoding: $2 + $1/ave.safetensors -> $3 (log: $4/)"
    if [ "${inference_nj}" -eq 1 ]; then
        "${cmd[@]}" --name decode "$4/decode.log" python -m whisper_er.bin.decode "${opts[@]}" \
            --data_dir "$2" --out_dir "$3" ${decode_args[@]+"${decode_args[@]}"}
        return
    fi
    rm -rf "${parts_dir}"
    run_python split_dir --data_dir "$2" --n "${inference_nj}" --out_dir "${parts_dir}/data"
    "${cmd[@]}" --name decode JOB=1:"${inference_nj}" "$4/decode.JOB.log" \
        python -m whisper_er.bin.decode "${opts[@]}" --data_dir "${parts_dir}/data/JOB" \
        --out_dir "${parts_dir}/hyp/JOB" ${decode_args[@]+"${decode_args[@]}"}
    for ((i = 1; i <= inference_nj; i++)); do hyps+=("${parts_dir}/hyp/${i}"); done
    run_python combine_dirs --out_dir "$3" "${hyps[@]}"
    rm -rf "${parts_dir}"
}
