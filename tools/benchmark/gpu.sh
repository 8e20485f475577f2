#!/usr/bin/env bash
# Everything that wants a GPU, in one call of under ten minutes: the tests that only run on one; training and decoding of
# base and large-v3 in bfloat16, by graphs and without, beside transformers and CTranslate2; memory, saving, data. The
# limits below sum to less than 600 s. A part that fails or runs out of its time is named, and the others go on.
#   tools/benchmark/gpu.sh OUT_DIR      OUT_DIR/<part>.txt, each ending in its line of JSON; last a table beside the goals
# PYTHON=/path/to/python with torch for CUDA, transformers and what setup.py names (tools/venv has torch for the CPU).
set -uo pipefail

out=$(mkdir -p "${1:?usage: $0 OUT_DIR}" && cd "$1" && pwd) || exit 1
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
# shellcheck source=../../egs/TEMPLATE/ser1/utils/check_machine.sh
. egs/TEMPLATE/ser1/utils/check_machine.sh
export PYTHONPATH=${PWD}${PYTHONPATH:+:${PYTHONPATH}}
python=${PYTHON:-python3}
"${python}" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' \
    || { echo "error: ${python}: torch sees no GPU; set PYTHON to one that does" >&2; exit 1; }

failed=0
run() {  # run PART SECONDS command...
    local start=${SECONDS}
    timeout "$2" "${@:3}" >"${out}/$1.txt" 2>&1 || { echo "failed or out of time: ${out}/$1.txt" >&2; failed=1; }
    echo "$1: $((SECONDS - start)) of $2 s -> ${out}/$1.txt"
}
bench() { run "$1" "$2" "${python}" "tools/benchmark/$3.py" --device cuda --dtype bfloat16 "${@:4}"; }

run tests 130 "${python}" -m pytest -q test/train/test_gpu.py test/train/test_distributed.py -k gpu

large=(--model large-v3 --utterances 160)
bench train_base 30 train --model base --utterances 160 --graphs auto
bench train_base_eager 15 train --model base --utterances 160 --graphs off --systems ours
bench train_base_compile 40 train --model base --utterances 64 --graphs auto --systems ours --compile
bench train_large 35 train "${large[@]}" --graphs auto --systems ours
bench train_large_bfloat16_weights 30 train "${large[@]}" --graphs auto --systems ours --bfloat16_weights
bench train_large_eager 20 train --model large-v3 --utterances 80 --graphs off --systems ours
# Alone: two of large-v3 with their optimizers do not fit 80 GB.
bench train_large_transformers 25 train --model large-v3 --utterances 48 --systems transformers --peer_batches 3

bench decode_base 35 decode --model base --batch_seconds 600 --utterances 1000 --graphs auto --peers transformers \
    --peer_batches 2
bench decode_base_eager 20 decode --model base --utterances 160 --graphs off --peers transformers --peer_batches 2
bench decode_base_static 40 decode --model base --batch_size 64 --utterances 64 --graphs off --peers transformers_static
bench decode_base_ctranslate2 25 decode --model base --batch_size 64 --utterances 64 --graphs off --peers ctranslate2
bench decode_large 35 decode --model large-v3 --batch_seconds 600 --utterances 500 --graphs auto --peers ""
# transformers on 64 utterances would keep 63 GB of keys and values: each beam has those of the 30 s to itself.
bench decode_large_eager 30 decode --model large-v3 --utterances 48 --graphs off --peers transformers

bench memory 45 memory --model large-v3 --seconds 10 --measured_only
bench saving 20 saving --model base --rounds 2 --beside --dir "${out}"
bench data 20 data --model base --utterances 320 --parts "" --workers 8 --steps 40
"${python}" tools/benchmark/gpu_table.py "${out}" || failed=1
exit "${failed}"
