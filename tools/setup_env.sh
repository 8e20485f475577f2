#!/usr/bin/env bash
# Make the Python environment of the recipes and the tests: tools/venv, from tools/requirements.txt.
# Repeating it costs nothing: the environment carries a copy of the list it was made from.
# PYTHON=/path/to/python3 chooses the interpreter (3.10 or newer).
# WHISPER_ER_REQUIREMENTS=oldest.txt takes that list of tools/ instead; tools/venv is made anew when the list changes.
set -euo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../egs/TEMPLATE/ser1/utils/check_machine.sh
. "${tools}/../egs/TEMPLATE/ser1/utils/check_machine.sh"
venv=${tools}/venv
python=${PYTHON:-python3}
requirements=${tools}/${WHISPER_ER_REQUIREMENTS:-requirements.txt}

ready() { cmp -s "${requirements}" "${venv}/made_from.txt"; }

if ready; then exit 0; fi

"${python}" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || {
    echo "$0: ${python} is not Python 3.10 or newer; set PYTHON=/path/to/python3" >&2; exit 1; }

# One set-up at a time: a directory is made by exactly one process, the others wait for it.
lock=${tools}/venv.lock
until mkdir "${lock}" 2>/dev/null; do
    [ -n "${waited:-}" ] || echo "$0: waiting for another set-up (if there is none, remove ${lock})" >&2
    waited=yes; sleep 2
done
trap 'rmdir "${lock}"' EXIT
if ready; then exit 0; fi

log=${tools}/setup_env.log
echo "setting up ${venv} from ${requirements} (once, a few minutes; log: ${log})"
if ! { rm -rf "${venv}" && "${python}" -m venv "${venv}" \
        && "${venv}/bin/pip" install --disable-pip-version-check --prefer-binary -r "${requirements}" \
        && "${venv}/bin/pip" install --disable-pip-version-check --no-deps -e "${tools}/.."; } >"${log}" 2>&1; then
    tail -n 15 "${log}" >&2
    echo "$0: the set-up failed; the whole log is ${log}" >&2
    exit 1
fi
cp "${requirements}" "${venv}/made_from.txt"
