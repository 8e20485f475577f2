#!/usr/bin/env bash
# Run a command, and stamp what it made once it has ended well (up_to_date.sh):
#   utils/stamped.sh OPTIONS STAMP... -- COMMAND...
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/up_to_date.sh"
options=$1
stamps=()
shift
while [ "$1" != -- ]; do
    stamps+=("$1")
    shift
done
"${@:2}"
for stamp in "${stamps[@]}"; do mark "${stamp}" "${options}"; done
