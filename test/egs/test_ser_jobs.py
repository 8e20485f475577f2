"""How ser.sh makes jobs of its stages: arrays over the folds, parts of sets, torchrun, one run at a time."""

import fcntl
import subprocess

import pytest
from stub_recipe import FOLDS, Recipe, option


@pytest.fixture
def recipe(tmp_path):
    return Recipe(tmp_path / "a recipe" / "ser1")


def test_sets_of_all_folds_are_decoded_in_parts_as_one_array_and_combined(recipe):
    calls = recipe.calls(*FOLDS, "--ser_tag=t", "--inference_nj=2", "--inference_config", "conf/decode_b.yaml")
    work = "exp/t/log/decode_b/folds_1_3"
    decodes = sorted((call for call in calls if call[0] == "decode"), key=lambda call: option(call, "--data_dir"))
    assert [option(call, "--data_dir") for call in decodes] == [f"{work}/jobs/{n}/data" for n in (1, 2, 3, 4)]
    for n, fold in ((1, 1), (3, 3)):
        hyps = [f"{work}/jobs/{n}/hyp", f"{work}/jobs/{n + 1}/hyp"]
        assert ["combine_dirs", "--out_dir", f"exp/t/fold{fold}/decode_b/test", *hyps] in calls
    assert not (recipe.directory / work / "jobs").exists()
    assert (recipe.directory / work / "decode.4.log").exists()


def test_one_set_that_cannot_be_decoded_costs_the_others_nothing(recipe):
    done = recipe.run(*FOLDS, "--ser_tag=t", FAIL="decode", FAIL_IN="jobs/2/")
    log = "exp/t/log/decode_default/folds_1_3/decode.2.log"
    assert done.returncode == 1 and f"decoding: 1 of 2 failed; log: {log}" in done.stderr
    again = recipe.calls(*FOLDS, "--ser_tag=t")
    assert [option(call, "--out_dir") for call in again if call[0] == "combine_dirs"] == [
        "exp/t/fold3/decode_default/test"
    ]


def test_two_runs_do_not_share_a_fold(recipe):
    recipe.calls(*FOLDS, "--ser_tag=t")
    with open(recipe.directory / "exp/t/fold3/.run.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = recipe.run(*FOLDS, "--ser_tag=t", "--stage", "5")
        assert (done.returncode, done.stderr) == (
            1,
            "error: exp/t/fold3: another run.sh works here; wait for it, or stop it\n",
        )
        assert recipe.run("--folds", "1", "--token_type=bpe", "--ser_tag=t", "--stage", "5").returncode == 0
    assert recipe.run(*FOLDS, "--ser_tag=t", "--stage", "5").returncode == 0


def test_a_second_run_waits_while_another_makes_data_and_then_finds_it_made(recipe):
    first = [*FOLDS, "--stop_stage", "2"]
    recipe.calls(*first)
    (recipe.directory / "calls.jsonl").unlink()
    for directory in ("data", "dump"):
        with open(recipe.directory / directory / ".run.lock", "r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            print("the first", file=lock, flush=True)
            lock.truncate()
            second = subprocess.Popen([recipe.directory / "ser.sh", *first], stdout=subprocess.PIPE, text=True)
            line = second.stdout.readline()
            assert line.endswith(
                f"stage 1: waiting for another run.sh, which makes what is in {directory}: the first\n"
            )
            assert not (recipe.directory / "calls.jsonl").exists()
        second.communicate(timeout=60)
        assert second.returncode == 0
        calls = (recipe.directory / "calls.jsonl").read_text()
        assert "check_audio" in calls and "format_data" not in calls and "token_list" not in calls
        (recipe.directory / "calls.jsonl").unlink()


@pytest.fixture
def torchrun(recipe):
    """What the training was started with, one call a line; the torchrun it is given knows these options."""

    def calls(*args: str, knows: str) -> list[str]:
        program = recipe.directory / "bin/torchrun"
        program.write_text(f"""#!/usr/bin/env bash
if [ "$1" == --help ]; then echo "usage: torchrun {knows}"; else echo "$@" >>torchrun_calls; fi
""")
        program.chmod(0o755)
        recipe.run(*FOLDS, *args, "--stage", "1", "--stop_stage", "3")
        return (recipe.directory / "torchrun_calls").read_text().splitlines()

    return calls


def test_several_gpus_and_machines_are_torchrun_s(recipe, torchrun):
    done = recipe.run(*FOLDS, "--ngpu", "2", "--num_nodes", "2")
    assert done.returncode == 2 and "--num_nodes 2: the local backend has one node; use slurm (cmd.sh)" in done.stderr
    calls = torchrun("--ngpu", "2", knows="[--standalone] [--shutdown-timeout SECONDS]")
    for fold, call in zip((1, 3), calls, strict=True):
        assert call.startswith("--nproc-per-node 2 --shutdown-timeout 600 --standalone -m whisper_er.bin.train ")
        assert f"/fold{fold} --ngpu 2" in call


def test_an_older_torchrun_is_not_given_what_it_does_not_know(torchrun):
    calls = torchrun("--ngpu", "1", knows="[--standalone]")
    assert [call.partition(" -m ")[0] for call in calls] == 2 * ["--nproc-per-node 1 --standalone"]
