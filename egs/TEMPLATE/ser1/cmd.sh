# shellcheck shell=bash
# How commands are run. To change it for one recipe, replace its link by a copy of this file.
#   ${cmd} [--gpu n] [--num_threads n] [--mem 4G] [--time HH:MM:SS] [--max_jobs_run n] [--name s] \
#       [JOB=1:N | JOB=1,3,5] log command ...
# JOB is replaced in the log's name and the command; no shell looks at the arguments (utils/launch.py --help).
cmd_backend=${cmd_backend:-local}

case "${cmd_backend}" in
    local)
        export train_cmd="utils/launch.py --backend local"
        export cuda_cmd="utils/launch.py --backend local --max_jobs_run 1"  # folds one after the other
        export decode_cmd="utils/launch.py --backend local"
        ;;
    *)
        echo "error: cmd.sh: cmd_backend is '${cmd_backend}'; only local is available" >&2
        exit 2
        ;;
esac
