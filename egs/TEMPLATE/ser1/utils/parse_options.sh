# shellcheck shell=bash
# Command-line options of a script, from the variable block at its top. Sourced; defines
#   parse_options "$@"         --name value or --name=value sets the variable; errors exit 2. The array `parsed` gets
#                              the words, with paths as the script sees them. Where `passes_to` names another script,
#                              options that only this one has go into the array `passed`, as they are
#   split_words ARRAY STRING   the words of STRING, quotes honoured, nothing expanded
# The block is the only place that names an option: its default, its comment and its type.
#   ## options
#   # A heading for --help
#   nj=4            # a whole number, because the default is one
#   resume=true     # true or false, because the default is
#   expdir=exp      # path to write: a relative one counts from where the user stands
#   corpus_dir=""   # path to read: the same if there is such a file; if not, it counts from here, or is a name of the hub
#   ## end of options
# Where the user stands is `paths_from`: a script sets it before it goes to its own directory, and run.sh writes
# --paths_from between its own words, whose paths are the recipe's, and those of the call.
# A value is only ever assigned, never evaluated.

. "${BASH_SOURCE[0]%/*}/check_machine.sh"  # first: an old bash cannot read what follows

usage_error() {
    echo "error: ${*//[[:cntrl:]]/?}; --help lists the options" >&2  # one line, whatever a value holds
    exit 2
}

# The closest of the words after the first, or nothing.
nearest() {
    "${PYTHON:-python3}" -c 'import difflib, sys; print(*difflib.get_close_matches(sys.argv[1], sys.argv[2:], 1))' \
        "$@" 2>/dev/null || true
}

print_options() {
    local line name
    echo "usage: $0 [--name value ...]   (in brackets: the value without the option; a path counts from where you stand)"
    while IFS= read -r line; do
        if [[ ${line} =~ ^([a-z][a-z0-9_]*)=[^#]*#\ (.*)$ ]]; then
            name=${BASH_REMATCH[1]}
            printf '  --%-22s %s [%s]\n' "${name}" "${BASH_REMATCH[2]}" "${!name}"
        elif [[ ${line} == "# "* ]]; then
            printf '\n%s\n' "${line#\# }"
        fi
    done <<<"$1"
}

check_option_value() {  # check_option_value NAME DEFAULT VALUE
    case "$2" in
        true | false)
            [[ $3 == true || $3 == false ]] || usage_error "--$1 is '$3'; it must be true or false" ;;
        *[!0-9]* | "") ;;
        *)
            [[ $3 =~ ^(0|[1-9][0-9]{0,8})$ ]] || usage_error "--$1 is '$3'; it must be a whole number" ;;
    esac
}

locate() {  # locate KIND: make po_value, a path of the user, one of the script
    local path=${paths_from%/}/${po_value}
    if [[ -z $1 || -z ${po_value} || ${po_value} == /* || ${paths_from} -ef . ]]; then return; fi
    if [[ $1 == write || -e ${path} ]]; then po_value=$(realpath -sm --relative-base="${PWD}" -- "${path}"); fi
}

parse_options() {
    # Locals start with po_: the options themselves are the script's variables and must not be shadowed.
    local po_block po_names po_known po_name po_value po_near po_joined po_further="" po_script=${BASH_SOURCE[1]}
    [ -f "${po_script}" ] || po_script=${po_script##*/}  # the script has gone to its own directory
    po_block=$(sed -n '/^## options/,/^## end of options/p' "${po_script}")
    po_names=$(option_names <<<"${po_block}")
    po_known=" ${po_names//$'\n'/ } paths_from "
    [ -z "${passes_to:-}" ] || po_further=$(option_names <"${passes_to}")
    : "${paths_from:=${PWD}}"
    parsed=() passed=()
    while [ $# -gt 0 ]; do
        case "$1" in
            --help | -h)
                print_options "${po_block}"
                [ -z "${passes_to:-}" ] || "${passes_to}" --help
                exit 0 ;;
            --?*) ;;
            *) usage_error "'$1' is not an option; every value needs its --name (and quotes if it holds spaces)" ;;
        esac
        po_name=${1%%=*}
        po_name=${po_name#--}
        if [[ ${po_known} != *" ${po_name} "* && $'\n'${po_further}$'\n' == *$'\n'"${po_name}"$'\n'* ]]; then
            passed+=("$1")
            shift
            if [[ ${passed[-1]} != *=* && $# -gt 0 ]]; then
                passed+=("$1")
                shift
            fi
            continue
        fi
        if [[ ${po_known} != *" ${po_name} "* ]]; then
            # shellcheck disable=SC2086  # one word per name
            po_near=$(nearest "${po_name}" ${po_names} ${po_further})
            usage_error "unknown option --${po_name}${po_near:+; did you mean --${po_near}?}"
        fi
        if [[ $1 == *=* ]]; then
            po_value=${1#*=} po_joined="--${po_name}="
            shift
        else
            [ $# -gt 1 ] || usage_error "--${po_name} has no value"
            po_value=$2 po_joined=""
            # `--nj --stage 3` forgot a number; `--local_data_opts "--corpus_dir x"` is meant so.
            if [[ ${po_value} == --* && ${po_known} == *" ${po_value#--} "* ]]; then
                usage_error "--${po_name} has no value (if '${po_value}' is the value, write --${po_name}=${po_value})"
            fi
            shift 2
        fi
        check_option_value "${po_name}" "$(default_of "${po_name}" "${po_block}")" "${po_value}"
        locate "$(path_kind "${po_name}" "${po_block}")"
        printf -v "${po_name}" '%s' "${po_value}"
        if [ "${po_name}" == paths_from ]; then
            [ -z "${passes_to:-}" ] || passed+=(--paths_from "${po_value}")
            continue
        fi
        [ -n "${po_joined}" ] || parsed+=("--${po_name}")
        parsed+=("${po_joined}${po_value}")
    done
}

option_names() { sed -n '/^## options/,/^## end of options/s/^\([a-z][a-z0-9_]*\)=.*/\1/p'; }

path_kind() { sed -n "s/^$1=[^#]*# path to \(read\|write\).*/\1/p" <<<"$2"; }  # of another option nothing

default_of() { sed -n "s/^$1=\([^\"# ]*\).*/\1/p" <<<"$2"; }  # of a quoted one nothing: any value is allowed

split_words() {
    local lines count
    lines=$("${PYTHON:-python3}" -c '
import os, shlex, sys
try:
    words = shlex.split(sys.argv[1])
except ValueError as error:
    sys.exit(str(error))
if any("\n" in word for word in words):
    sys.exit("a line break inside a word")
sys.stdout.buffer.write(b"\n".join(map(os.fsencode, [str(len(words)), *words, "end"])))' "$2" 2>&1) \
        || usage_error "cannot split '$2' into words: ${lines}"
    count=${lines%%$'\n'*}
    if [ "${count}" -eq 0 ]; then mapfile -t "$1" </dev/null; else mapfile -t -s 1 -n "${count}" "$1" <<<"${lines}"; fi
}
