"""What the launcher makes of what Slurm says, and does not say."""

import subprocess
import sys

import pytest
from launched import LAUNCH

sys.path.insert(0, str(LAUNCH.parent))
import slurm_queue  # noqa: E402
import slurm_watch  # noqa: E402
from job_log import Job  # noqa: E402

NO_ANSWER = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"
FORGOTTEN = "slurm_load_jobs error: Invalid job id specified\n"


class FakeSlurm:
    """Answers one squeue after the other; the last one again and again."""

    def __init__(self, *answers):
        self.answers, self.calls = list(answers), []

    def __call__(self, argv):
        self.calls.append(argv)
        if argv[0] != "squeue":
            return subprocess.CompletedProcess(argv, 0, "", "")
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            answer = answer()
        failed = answer in (NO_ANSWER, FORGOTTEN)
        return subprocess.CompletedProcess(argv, failed, "" if failed else answer, answer if failed else "")


class FakeStop:
    """A stop request."""

    def __init__(self, asked):
        self.asked = asked

    def __bool__(self):
        return self.asked

    def insists(self):
        return False

    def exit_code(self):
        return 130


@pytest.fixture
def watch(monkeypatch, tmp_path):
    """failed(answers of squeue ...) -> what failed, as (number, why), and the calls of Slurm's commands."""
    for module, name, seconds in [
        (slurm_watch, "LOOK_SECONDS", 0.005),
        (slurm_watch, "FIRST_ASK_SECONDS", 0.01),
        (slurm_watch, "LAST_ASK_SECONDS", 0.01),
        (slurm_watch, "PATIENCE_SECONDS", 0.1),
        (slurm_watch, "CANCEL_SECONDS", 0.2),
        (slurm_queue, "LOST_SECONDS", 0.1),
    ]:
        monkeypatch.setattr(module, name, seconds)

    def failed(*answers, numbers=("1", "2"), stop=False):
        slurm = FakeSlurm(*answers)
        monkeypatch.setattr(slurm_queue, "call", slurm)
        jobs = [Job(number, f"{number}.log", []) for number in numbers]
        found = slurm_watch.Watch("train", "7", jobs, tmp_path, FakeStop(stop)).wait()
        return [(job.number, why) for job, why in found], slurm.calls

    return failed


@pytest.mark.parametrize("code, state, reason, waited, judgement", [
    (0, "RUNNING", "None", 0, ""), (0, "PENDING", "BeginTime", 0, ""), (None, "RUNNING", "None", 0, None),
    (1, "COMPLETING", "None", 0, None), (-15, "PENDING", "BeginTime", 99, None), (1, "FAILED", "NonZeroExitCode", 0,
     "FAILED, exit code 1"), (-15, "CANCELLED", "None", 0, "CANCELLED, exit code -15"),
    (None, "TIMEOUT", "TimeLimit", 9, None), (None, "NODE_FAIL", "None", 11, "NODE_FAIL"),
    (None, "FAILED", "JobLaunchFailure", 11, "FAILED, JobLaunchFailure"), (None, "COMPLETED", "None", 11, ""),
    (None, slurm_queue.UNKNOWN, "", 9, None), (None, slurm_queue.UNKNOWN, "", 11, "unknown to Slurm"),
    (3, slurm_queue.UNKNOWN, "", 0, "unknown to Slurm, exit code 3"),
])  # fmt: skip
def test_a_task_is_judged_by_its_exit_file_and_slurms_state(code, state, reason, waited, judgement):
    assert slurm_queue.judge(code, state, reason, waited) == judgement


def test_tasks_that_slurm_has_forgotten_are_lost(watch, tmp_path):
    (tmp_path / "1.exit").write_text("0")
    assert watch("7_2|RUNNING|None\n", FORGOTTEN)[0] == [("2", "job 7_2: unknown to Slurm")]
    (tmp_path / "1.exit").unlink()
    (tmp_path / "job.exit").write_text("0")
    assert watch("7|RUNNING|None\n", numbers=[None])[0] == []


def test_a_task_that_is_queued_again_has_not_failed(watch, tmp_path):
    def runs_again():
        (tmp_path / "1.exit").write_text("0")
        return "7_1|RUNNING|None\n"

    (tmp_path / "1.exit").write_text("-15")
    failed, calls = watch("7_1|COMPLETING|None\n", "7_1|PENDING|BeginTime\n", runs_again, numbers=["1"])
    assert failed == [] and {call[0] for call in calls} == {"squeue"}


def test_silence_of_slurm_is_waited_out_and_said_once(watch, capsys):
    failed, _ = watch(NO_ANSWER, NO_ANSWER, NO_ANSWER, "7_1|COMPLETED|None\n7_2|OUT_OF_MEMORY|None\n")
    assert failed == [("2", "job 7_2: OUT_OF_MEMORY")]
    assert capsys.readouterr().err == (
        "train: Slurm does not answer, waiting: slurm_load_jobs error: Unable to contact slurm controller (connect "
        "failure)\ntrain: Slurm answers again\n"
    )


def test_a_failure_cancels_what_waits_and_does_not_count_it(watch, tmp_path):
    (tmp_path / "1.exit").write_text("1")
    (tmp_path / "2.exit").write_text("2")
    failed, calls = watch(
        "7_1|FAILED|NonZeroExitCode\n7_2|RUNNING|None\n7_3|PENDING|JobArrayTaskLimit\n",
        "7_1|FAILED|NonZeroExitCode\n7_2|FAILED|NonZeroExitCode\n7_3|CANCELLED|None\n",
        numbers="123",
    )
    assert failed == [("1", "job 7_1: FAILED, exit code 1"), ("2", "job 7_2: FAILED, exit code 2")]
    assert [call for call in calls if call[0] != "squeue"] == [["scancel", "--state=PENDING", "7"]]


def test_a_reason_that_time_will_not_mend_is_said_once(watch, capsys, tmp_path):
    def ends():
        (tmp_path / "1.exit").write_text("0")
        (tmp_path / "2.exit").write_text("0")
        return ""

    waiting = "7_1|PENDING|PartitionTimeLimit\n7_2|PENDING|Priority\n"
    assert watch(*[waiting] * 30, ends)[0] == []
    assert capsys.readouterr().err == "train: job 7_1 waits: PartitionTimeLimit\n"


def test_a_stop_that_slurm_does_not_confirm_says_what_may_still_run(watch, capsys):
    with pytest.raises(SystemExit) as stopped:
        watch(NO_ANSWER, stop=True)
    assert stopped.value.code == 130
    assert capsys.readouterr().err.endswith("train: job 7 may still run: see squeue, and scancel 7\n")
