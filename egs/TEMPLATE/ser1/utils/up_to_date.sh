# shellcheck shell=bash
# What was made carries a stamp, written last: a small file with the options that it was made with, and the names of the
# files that it stands for. Sourced.
#   up_to_date STAMP OPTIONS INPUT... || { make it; mark STAMP OPTIONS FILE...; }

# Made with these options, no file that the stamp names is missing or empty, and no input (a file, or a directory and its
# files) is missing or newer.
up_to_date() {
    local stamp=$1 options=${2//$'\n'/ } input file
    shift 2
    [ -f "${stamp}" ] || return 1
    {
        IFS= read -r file && [ "${file}" == "${options}" ] || return 1
        while IFS= read -r file; do [ -s "${stamp%/*}/${file}" ] || return 1; done
    } <"${stamp}"
    for input in "$@"; do
        [ -e "${input}" ] || return 1
        for file in "${input}" "${input}"/*; do
            [ ! "${file}" -nt "${stamp}" ] || return 1
        done
    done
}

# Of the FILEs, which lie beside the stamp or below, those that are empty or directories are not named.
mark() {
    local stamp=$1 text=${2//$'\n'/ } file
    for file in "${@:3}"; do
        if [ -f "${file}" ] && [ -s "${file}" ]; then text+=$'\n'${file#"${stamp%/*}/"}; fi
    done
    printf '%s\n' "${text}" >"${stamp}"
}
