# shellcheck shell=bash
# shellcheck disable=SC2154  # the options are ser.sh's
# Decode sets with their models, each in --inference_nj parts that are joined again, all as one array. For ser.sh:
#   decode_sets WORK_DIR OPTIONS {EXP_DIR DATA_DIR HYP_DIR}...
# Reads ser.sh's options, its commands decode_cmd and cuda_cmd, and decode_args. A set all of whose parts have been
# decoded is joined and stamped with OPTIONS, also where another has failed.

decode_sets() {
    local work=$1 options=$2 cmd=("${decode_cmd[@]}") gpus=0 sets=() n=0 i part hyps failed=""
    shift 2
    sets=("$@")
    if [ "${gpu_inference}" == true ]; then
        gpus=1
        cmd=("${cuda_cmd[@]}" --gpu 1)
    fi
    rm -rf "${work}/jobs"
    for ((i = 0; i < ${#sets[@]}; i += 3)); do
        say 5 "decoding: ${sets[i + 1]} + ${sets[i]}/${inference_model} -> ${sets[i + 2]}" \
            "(log: ${work}/decode.$((n + 1))$([ "${inference_nj}" -eq 1 ] || echo " to $((n + inference_nj))").log)"
        run_python split_dir --data_dir "${sets[i + 1]}" --n "${inference_nj}" --out_dir "${work}/jobs/parts" \
            --exp_dir "${sets[i]}"
        for ((part = 1; part <= inference_nj; part++)); do
            n=$((n + 1))
            mkdir -p "${work}/jobs/${n}"
            mv "${work}/jobs/parts/${part}" "${work}/jobs/${n}/data"
            ln -s "$(realpath "${sets[i]}")" "${work}/jobs/${n}/exp"
        done
    done
    "${cmd[@]}" --name decoding JOB=1:"${n}" "${work}/decode.JOB.log" \
        python -m whisper_er.bin.decode --config "${inference_config}" --exp_dir "${work}/jobs/JOB/exp" \
        --data_dir "${work}/jobs/JOB/data" --out_dir "${work}/jobs/JOB/hyp" --ngpu "${gpus}" \
        --model "${inference_model}" \
        --allow_shared_speakers "${allow_shared_speakers}" ${decode_args[@]+"${decode_args[@]}"} || failed=yes
    n=0
    for ((i = 0; i < ${#sets[@]}; i += 3)); do
        hyps=()
        for ((part = 1; part <= inference_nj; part++)); do
            n=$((n + 1))
            hyps+=("${work}/jobs/${n}/hyp")
        done
        have "${hyps[@]}" || continue
        run_python combine_dirs --out_dir "${sets[i + 2]}" "${hyps[@]}"
        mark "${sets[i + 2]}/.made_with" "${options}" "${sets[i + 2]}"/*
    done
    [ -z "${failed}" ] || exit 1
    rm -rf "${work}/jobs"
}
