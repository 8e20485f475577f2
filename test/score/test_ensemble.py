"""The mean of several models' posteriors, from hypothesis directories to RESULTS.md."""

import json
import shutil
from pathlib import Path

import pytest
from tiny_experiment import call

from whisper_er.base.errors import UserError
from whisper_er.bin import ensemble, score
from whisper_er.data import kaldi
from whisper_er.report.markdown import render
from whisper_er.score.hypotheses import POSTERIORS
from whisper_er.score.results import collect
from whisper_er.score.temperature import Fit, write_fits

HYP = Path("decode_default/test")


def set_happy(exp: Path, **of_test: float) -> None:
    """Let the posteriors of test-00 and so on say `happy` with these probabilities, all others 0.5."""
    path = exp / HYP / POSTERIORS
    lines = list(map(json.loads, path.read_text(encoding="utf-8").splitlines()))
    for line in lines:
        happy = of_test.get(line["utt_id"].replace("-", "_"), 0.5)
        line["emotion"] = {"happy": happy, "sad": 1 - happy}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


@pytest.fixture
def members(root) -> list[Path]:
    """Two experiments; a third of their mean's emotions would be otherwise by either alone."""
    (root / "exp/decode_x").rename(root / "exp/decode_default")
    second = shutil.copytree(root / "exp", root / "second", symlinks=True)
    set_happy(root / "exp", test_00=0.9, test_01=0.1, test_02=0.7)
    set_happy(second, test_00=0.4, test_01=0.6, test_02=0.2)
    return [root / "exp", second]


def run(members: list[Path], out: Path, *more: object) -> dict[str, dict[str, float]]:
    """Utterance -> posterior of the emotion."""
    call(ensemble, "--exp_dirs", *members, "--out_dir", out, *more)
    lines = map(json.loads, (out / HYP / POSTERIORS).read_text(encoding="utf-8").splitlines())
    return {line["utt_id"]: line["emotion"] for line in lines}


def test_the_mean_decides_and_is_scored_like_any_system(root, members):
    out = root / "ensemble"
    found = run(members, out)
    assert [found[f"test-0{i}"]["happy"] for i in range(3)] == pytest.approx([0.65, 0.35, 0.45])
    said = kaldi.read_table(out / HYP / "utt2emotion")
    assert [said[f"test-0{i}"] for i in range(3)] == ["happy", "sad", "sad"]
    assert {path.name for path in (out / HYP).iterdir()} == {
        "decode.json", POSTERIORS, "utt2spk", "utt2gender", "utt2emotion",
    }  # fmt: skip
    call(score, "--ref_dir", root / "test", "--hyp_dir", out / HYP, "--tasks", "gender emotion", "--exp_dir",
         members[0], "--out", out / HYP / "score/result.json")  # fmt: skip
    text = render(out, ["command"], collect(out, [], "test", ""))
    assert f"ensemble `{members[0] / HYP} {members[1] / HYP}`, weights `1 1`" in text


def test_weights_count_and_temperatures_come_before_the_mean(root, members):
    weighted = run(members, root / "ensemble", "--weights", "1 3")
    assert weighted["test-00"]["happy"] == pytest.approx((0.9 + 3 * 0.4) / 4)
    weights = json.loads((members[0] / HYP / "decode.json").read_text())["model"]
    for member in members:
        write_fits(member, {"emotion": Fit(2.0, 3, (0.1, 0.0), (0.1, 0.0))}, weights, {})
    calibrated = run(members, root / "ensemble", "--calibrate")
    assert calibrated["test-00"]["happy"] == pytest.approx((0.75 + 0.4**0.5 / (0.4**0.5 + 0.6**0.5)) / 2)


def other_labels(second: Path) -> None:
    path = second / "token_list/token_list.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("happy", "bored"), encoding="utf-8")


def other_utterances(second: Path) -> None:
    path = second / HYP / POSTERIORS
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[1:]), encoding="utf-8")


def nothing(second: Path) -> None:
    pass


@pytest.mark.parametrize("spoil, options, message", [
    (other_labels, (), r"its labels of emotion are not those of .*: only one of the two has bored, happy"),
    (other_utterances, (), r"posteriors.jsonl: missing test-00, which .* both must list the same utterances"),
    (lambda second: (second / HYP / POSTERIORS).unlink(), (), r"has no posteriors of gender emotion; decode"),
    (nothing, ("--weights", "1 0"), r"--weights '1 0': give 2 numbers above 0"),
    (nothing, ("--weights", "1"), r"--weights '1': give 2 numbers above 0"),
    (nothing, ("--calibrate",), r"calibration.json: has no temperature for valid_.*; run whisper-er calibrate"),
    (nothing, ("--test_set", "dev"), r"decode_default/dev/decode.json: cannot be read"),
])  # fmt: skip
def test_members_that_do_not_fit_are_refused(root, members, spoil, options, message):
    spoil(members[1])
    with pytest.raises(UserError, match=message):
        run(members, root / "ensemble", *options)
    assert not (root / "ensemble").exists()


def test_a_member_that_read_the_references_makes_a_ceiling_of_the_mean(root, members):
    path = members[1] / HYP / "decode.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"teacher_forced": True}))
    run(members, root / "ensemble")
    assert json.loads((root / "ensemble" / HYP / "decode.json").read_text())["teacher_forced"] is True
