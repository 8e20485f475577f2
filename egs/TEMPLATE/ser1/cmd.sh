# shellcheck shell=bash
# How commands are run. To change it for one recipe, replace its link by a copy of this file.
#   cmd_backend=slurm ./run.sh ...    jobs of Slurm, as conf/slurm.conf asks for them
#   ${cmd} [--gpu n] [--num_threads n] [--mem 4G] [--time HH:MM:SS] [--max_jobs_run n] [--num_nodes n] [--resume] \
#       [--name s] [JOB=1:N | JOB=1,3,5] log command ...
# JOB is replaced in the log's name and the command; no shell looks at the arguments (utils/launch.py --help).
cmd_backend=${cmd_backend:-local}

case "${cmd_backend}" in
    local)
        export train_cmd="utils/launch.py --backend local --max_jobs_run 1"  # folds one after the other
        export cuda_cmd="${train_cmd}"
        # The parts of one set at a time, and the cores divided among them.
        export decode_cmd="utils/launch.py --backend local --max_jobs_run ${inference_nj:-1} \
            --num_threads $((OMP_NUM_THREADS > ${inference_nj:-1} ? OMP_NUM_THREADS / ${inference_nj:-1} : 1))"
        ;;
    slurm)
        export train_cmd="utils/launch.py --backend slurm --config conf/slurm.conf"
        export cuda_cmd="${train_cmd}"
        export decode_cmd="${train_cmd}"
        ;;
    *)
        echo "error: cmd.sh: cmd_backend is '${cmd_backend}'; allowed are local and slurm" >&2
        exit 2
        ;;
esac
