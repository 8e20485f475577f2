#!/usr/bin/env python3
"""Run a command, or an array of them, and keep its output in a log. cmd.sh chooses the backend and its options.

    utils/launch.py --backend local exp/a/log/average.log python -m whisper_er.bin.average ...
    utils/launch.py --backend local --max_jobs_run 2 JOB=1:4 exp/a/log/decode.JOB.log python ... parts/JOB
    utils/launch.py --backend slurm --config conf/slurm.conf --gpu 1 --resume JOB=1,3,5 exp/a/foldJOB/train.log ...

JOB is replaced by the job's number in the log's name and in the command; no shell looks at the arguments. A log is
appended to, so what an interrupted run said stays readable. What was started ends with us, or with who started us.
"""

from __future__ import annotations

import argparse
import re
import sys

import launch_local
import launch_slurm
from job_log import Job
from stop_request import StopRequest


def parse_args() -> tuple[argparse.Namespace, list[Job]]:
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", choices=["local", "slurm"], required=True)
    parser.add_argument("--config", help="of slurm, and needed by it: conf/slurm.conf, which says what requests mean")
    parser.add_argument("--gpu", type=int, help="GPUs of one job, on each of its nodes; unset or 0: it sees none")
    parser.add_argument("--num_threads", type=int, help="threads of one job (OMP_NUM_THREADS); unset: as inherited")
    for name, what in (("--mem", "memory of one job, such as 4G"), ("--time", "time limit HH:MM:SS")):
        parser.add_argument(name, help=f"{what}: a request to a cluster's scheduler, nothing to the local backend")
    parser.add_argument("--max_jobs_run", type=int, help="jobs at the same time; unset: all")
    parser.add_argument(
        "--num_nodes",
        type=int,
        default=1,
        help="slurm: nodes of one job; the command runs on each, and torchrun in it finds the others",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="slurm: the command goes on where TERM stopped it; queue it again at its time limit",
    )
    parser.add_argument(
        "--keep_going",
        action="store_true",
        help="local: start further jobs after one has failed; slurm starts all anyway",
    )
    parser.add_argument("--name", default="job", help="what messages call it")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="[JOB=1:N | JOB=1,3,5] log command ...")
    args = parser.parse_args()
    if min(args.num_threads or 1, args.num_nodes, 1 if args.max_jobs_run is None else args.max_jobs_run) < 1:
        parser.error("--num_threads, --num_nodes and --max_jobs_run must be at least 1")
    if args.backend == "local" and args.num_nodes > 1:
        parser.exit(2, f"error: --num_nodes {args.num_nodes}: the local backend has one node; use slurm (cmd.sh)\n")
    if args.backend == "slurm" and not args.config:
        parser.error("--backend slurm needs --config conf/slurm.conf")
    spec = args.rest.pop(0) if args.rest and args.rest[0].startswith("JOB=") else None
    if len(args.rest) < 2:
        parser.error("a log and a command are needed")
    args.log, *argv = args.rest
    if spec is None:
        return args, [Job(None, args.log, argv)]
    if not (numbers := job_numbers(spec)) or "JOB" not in args.log:
        parser.error(f"{spec} {args.log}: write JOB=1:4 or JOB=1,3,5, each number once, and JOB in the log's name")
    return args, [Job(n, args.log.replace("JOB", n), [word.replace("JOB", n) for word in argv]) for n in numbers]


def job_numbers(spec: str) -> list[str]:
    """The numbers of JOB=1:4 or JOB=1,3,5; none if it is neither or repeats one."""
    if match := re.fullmatch(r"JOB=(\d+):(\d+)", spec):
        return [str(number) for number in range(int(match[1]), int(match[2]) + 1)]
    numbers = spec.removeprefix("JOB=").split(",")
    return numbers if all(map(str.isdecimal, numbers)) and len(set(numbers)) == len(numbers) else []


def main() -> int:
    args, jobs = parse_args()
    run = {"local": launch_local.run, "slurm": launch_slurm.run}[args.backend]
    if not (failed := run(args, jobs, StopRequest())):
        return 0
    job, why = failed[0]
    summary = f"{args.name}: {len(failed)} of {len(jobs)} failed; log: {job.log}{why and f' ({why})'}"
    print(*filter(None, (job.why(), summary)), sep="\n", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
