# shellcheck shell=sh
# Whether the scripts can run here; if not, one line says why. In the syntax of plain sh and sourced first, before what an
# old bash cannot read (macOS has 3.2): by parse_options.sh, setup.sh and tools/setup_env.sh, so by all that users start.

refuse_machine() {
    echo "error: $1" >&2
    exit 1
}

[ "$(uname -s)" = Linux ] || refuse_machine "this is $(uname -s); the scripts need Linux, which on Windows is WSL"
case ${BASH_VERSION:-} in
    "" | [0-3].* | 4.[0-3].*) refuse_machine "bash is ${BASH_VERSION:-not the shell}; the scripts need 4.4 or newer" ;;
esac
for tool in flock nproc readlink realpath; do
    command -v "${tool}" >/dev/null || refuse_machine "there is no ${tool}; install util-linux and GNU coreutils"
done
# Where git makes no links, as on Windows, there is a file with the name of the target.
# shellcheck disable=SC3028  # BASH_SOURCE: it is bash by now
[ ! -f "${BASH_SOURCE%/*}/../../../mini_emo/ser1/utils" ] \
    || refuse_machine "the links of this clone are files; make a new one with the git of Linux (that of WSL)"
