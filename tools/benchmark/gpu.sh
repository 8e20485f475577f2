#!/usr/bin/env bash
# Everything that wants a GPU, in one call of under ten minutes: the tests that only run on one, and training, decoding,
# data and memory for base and large-v3 in bfloat16 beside transformers.
#   tools/benchmark/gpu.sh OUT_DIR      OUT_DIR/<name>.txt, each ending in its line of JSON
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
run() {  # run NAME SECONDS command...
    echo "$1 -> ${out}/$1.txt"
    timeout "$2" "${@:3}" >"${out}/$1.txt" 2>&1 || { echo "failed or out of time: ${out}/$1.txt" >&2; failed=1; }
}
bench() { run "$1" "$2" "${python}" "tools/benchmark/$3.py" --device cuda --dtype bfloat16 "${@:4}"; }

run tests 90 "${python}" -m pytest -q test/train/test_gpu.py test/train/test_distributed.py -k gpu
for model in base large-v3; do
    # One system at a time: two of large-v3 with their optimizers do not fit 80 GB.
    bench "train_${model}" 60 train --model "${model}" --utterances 320 --systems ours
    bench "train_${model}_transformers" 60 train --model "${model}" --utterances 48 --systems transformers \
        --peer_batches 3
    bench "decode_${model}" 60 decode --model "${model}" --utterances 1000 --batch_seconds 600 --peer_batches 3 \
        --peers transformers
    bench "decode_${model}_eager" 45 decode --model "${model}" --utterances 320 --batch_size 64 --graphs off --peers ""
done
bench train_base_compile 60 train --model base --utterances 320 --systems ours --compile
bench data 45 data --model base --utterances 10000 --workers 2 8 --steps 60
bench memory 60 memory --model large-v3 --seconds 10 --measured_only
exit "${failed}"
