"""conf/slurm.conf: what it says, and what is wrong in it."""

import sys
from pathlib import Path

import pytest
from launched import LAUNCH

sys.path.insert(0, str(LAUNCH.parent))
from slurm_conf import SlurmConf  # noqa: E402

TEMPLATE = LAUNCH.parents[1] / "conf/slurm.conf"


def conf(directory: Path, *lines: str) -> SlurmConf:
    path = directory / "slurm.conf"
    path.write_text("\n".join(lines))
    return SlurmConf(str(path))


def test_requests_become_words():
    words = SlurmConf(str(TEMPLATE)).words({"name": "a b", "gpu": "2", "mem": "4G", "resume": "true"})
    assert words == [
        "sbatch",
        "--export=ALL",
        "--job-name=a b",
        "--partition=gpu",
        "--gres=gpu:2",
        "--mem=4G",
        "--requeue",
        "--signal=B:USR1@300",
    ]
    assert SlurmConf(str(TEMPLATE)).words({"gpu": "0"}) == ["sbatch", "--export=ALL"]


def test_an_exact_value_goes_before_any_other_and_words_are_quoted_as_in_a_shell(tmp_path):
    site = conf(
        tmp_path,
        "option gpu=* -p any --gres=gpu:$0 # all",
        "command sbatch",
        "option gpu=8 -p big -C 'a b|c'",
        "default gpu=8",
        "",
        "# default gpu=1",
    )
    assert site.words({"gpu": "8"}) == ["sbatch", "-p", "big", "-C", "a b|c"]
    assert site.words({"gpu": "1"}) == ["sbatch", "-p", "any", "--gres=gpu:1"]
    assert site.defaults == {"gpu": "8"}


@pytest.mark.parametrize(
    "line, said",
    [
        ("options gpu=* x", "options: a line is 'command WORDS'"),
        ("command", "command: a line is"),
        ("command srun", "there is another 'command' above"),
        ("option gpus=1 x", "gpus=1: write NAME=VALUE"),
        ("option gpu --gres=gpu:1", "gpu: write NAME=VALUE"),
        ("default gpu=two", "gpu=two: a default is one value"),
        ("default num_nodes=2", "num_nodes=2: write NAME=VALUE, where NAME is one of gpu, num_threads, mem, time"),
        ("default mem=4 G", "mem=4 G: a default is one value"),
        ("option mem=* 'x", "No closing quotation"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, said):
    with pytest.raises(SystemExit) as error:
        conf(tmp_path, "command sbatch", "", line)
    assert str(error.value).startswith(f"error: {tmp_path}/slurm.conf, line 3: {said}")


def test_a_request_that_no_line_is_for_is_an_error(tmp_path):
    with pytest.raises(SystemExit, match="no line 'option mem=4G ...' or 'option mem=\\* ...'"):
        conf(tmp_path, "command sbatch", "option mem=8G --mem=8G").words({"mem": "4G"})
    with pytest.raises(SystemExit, match="no line 'command sbatch ...'"):
        conf(tmp_path, "option gpu=0")
    with pytest.raises(SystemExit, match="No such file"):
        SlurmConf(str(tmp_path / "none.conf"))
