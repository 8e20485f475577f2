#!/usr/bin/env bash
# Run a command, and stamp what it made once it has ended well (up_to_date.sh):
#   utils/stamped.sh OPTIONS STAMP... -- COMMAND...
# A stamp .made_with stands for the files of its directory; .averaged lies among files that come and go.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/up_to_date.sh"
options=$1
stamps=()
shift
while [ "$1" != -- ]; do
    stamps+=("$1")
    shift
done
rm -f "${stamps[@]}"  # one that is stopped half way stamps nothing
"${@:2}"
for stamp in "${stamps[@]}"; do
    files=()
    [ "${stamp##*/}" != .made_with ] || files=("${stamp%/*}"/*)
    mark "${stamp}" "${options}" ${files[@]+"${files[@]}"}
done
