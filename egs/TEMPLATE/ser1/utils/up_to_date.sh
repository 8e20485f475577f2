# shellcheck shell=bash
# What was made carries a stamp, written last: a small file with the options that it was made with. Sourced.
#   up_to_date STAMP OPTIONS INPUT... || { make it; mark STAMP OPTIONS; }

# Made with these options, and no input (a file, or a directory and its files) is missing or newer.
up_to_date() {
    local stamp=$1 options=$2 input file
    shift 2
    [ -f "${stamp}" ] && [ "$(<"${stamp}")" == "${options}" ] || return 1
    for input in "$@"; do
        [ -e "${input}" ] || return 1
        for file in "${input}" "${input}"/*; do
            [ ! "${file}" -nt "${stamp}" ] || return 1
        done
    done
}

mark() { printf '%s\n' "$2" >"$1"; }
