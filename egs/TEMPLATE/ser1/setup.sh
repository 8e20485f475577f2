#!/usr/bin/env bash
# Make a recipe directory for a new corpus:
#   egs/TEMPLATE/ser1/setup.sh egs/<corpus>/ser1
# What all recipes share is linked, what a corpus changes is copied: run.sh, local/data.sh, conf/*.yaml.
set -euo pipefail
# shellcheck source=utils/check_machine.sh
. "$(dirname "${BASH_SOURCE[0]}")/utils/check_machine.sh"

if [ $# -ne 1 ] || [[ $1 == -* ]]; then
    echo "usage: $0 egs/<corpus>/ser1" >&2
    exit 2
fi
target=${1%/}
template=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
egs=$(cd "${template}/../.." && pwd)
corpus=$(readlink -m "$(dirname "${target}")")

if [ "$(dirname "${corpus}")" != "${egs}" ]; then
    echo "error: ${target} is not of the form ${egs}/<corpus>/ser1 (its links point to ../../TEMPLATE/ser1)" >&2
    exit 1
fi
if [ -e "${target}" ] || [ -L "${target}" ]; then
    echo "error: ${target} is already there; remove it or choose another name" >&2
    exit 1
fi

# Made beside its place and renamed: no half recipe is left behind.
mkdir -p "${corpus}"
new=$(mktemp -d "${corpus}/.new.XXXXXX")
trap 'rm -rf "${new}"' EXIT
chmod 755 "${new}"
for name in ser.sh systems.sh path.sh cmd.sh utils; do
    ln -s "../../TEMPLATE/ser1/${name}" "${new}/${name}"
done
cp -R "${template}/run.sh" "${template}/local" "${new}"
if [ -d "${template}/conf" ]; then cp -R "${template}/conf" "${new}"; else mkdir "${new}/conf"; fi
ln -sf ../../../TEMPLATE/ser1/conf/slurm.conf "${new}/conf/slurm.conf"  # the site's, not the corpus'
mv "${new}" "${target}"
trap - EXIT
echo "${target}: now write local/data.sh, then set the tasks and the folds in run.sh: egs/TEMPLATE/README.md shows how"
