# shellcheck shell=bash
# Presets: the paper's whole recipe under one set of assumptions, each a directory conf/paper_<...>. Sourced by run.sh
# and paper.sh.
#   check_preset NAME        exit 2 where there is no such preset
#   apply_preset ARGUMENTS   sets `arguments`: those of ser.sh, as the --preset among them says
# With a preset, its conf/<preset>/x.yaml is taken for conf/x.yaml where there is one, experiments go to exp/<preset>,
# and where its data differ (data.opts), these to data/<preset> and dump/<preset>. What the call says itself wins, as
# does a conf/x.yaml that lies where its user stands.

check_preset() {
    local known
    known=$(cd conf && echo paper_*)
    [[ " ${known} " == *" $1 "* && $1 =~ ^paper_[a-z0-9_]+$ ]] && return
    echo "error: --preset is '${1//[[:cntrl:]]/?}'; it must be ${known// / or }" >&2
    exit 2
}

apply_preset() {
    local preset="" word previous="" data_opts="" from=.
    arguments=()
    while [ $# -gt 0 ]; do
        case $1 in
            --preset) [ $# -gt 1 ] || check_preset ""; preset=$2; shift ;;
            --preset=*) preset=${1#*=} ;;
            *) arguments+=("$1") ;;
        esac
        shift
    done
    [ -n "${preset}" ] || return 0
    check_preset "${preset}"
    local given=("${arguments[@]}")
    arguments=(--expdir "exp/${preset}")
    if [ -f "conf/${preset}/data.opts" ]; then
        data_opts=$(sed '/^#/d' "conf/${preset}/data.opts")
        arguments+=(--datadir "data/${preset}" --dumpdir "dump/${preset}" --local_data_opts "${data_opts}")
    fi
    for word in "${given[@]}"; do
        [ "${previous}" != --paths_from ] || from=${word}
        if [[ ${word} =~ ^(--[a-z_]+=)?conf/([a-z_]+\.yaml)$ && -f conf/${preset}/${BASH_REMATCH[2]} ]] \
            && [[ ${from} -ef . || ! -e ${from}/conf/${BASH_REMATCH[2]} ]]; then
            arguments+=("${BASH_REMATCH[1]}conf/${preset}/${BASH_REMATCH[2]}")
        elif [ "${previous}" == --local_data_opts ]; then
            arguments+=("${data_opts:+${data_opts} }${word}")
        elif [[ ${word} == --local_data_opts=* ]]; then
            arguments+=("--local_data_opts=${data_opts:+${data_opts} }${word#*=}")
        else
            arguments+=("${word}")
        fi
        previous=${word}
    done
}
