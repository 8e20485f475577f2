#!/usr/bin/env bash
# Run a command, and stamp what it made once it has ended well (up_to_date.sh):
#   utils/stamped.sh STAMP OPTIONS COMMAND...
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/up_to_date.sh"
"${@:3}"
mark "$1" "$2"
