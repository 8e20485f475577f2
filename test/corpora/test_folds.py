"""Cross-validation sets, ready-made sets, and directories in parts."""

from pathlib import Path

import pytest
from entry_point import error_of, run_entry_point

from whisper_er.base.errors import UserError
from whisper_er.corpora.folds import assign_folds, check_speakers, make_folds
from whisper_er.data import kaldi


def write_all(path: Path, num_folds: int = 4) -> kaldi.DataDir:
    """Two speakers a fold, two utterances each."""
    utt_ids = [f"s{fold}{who}-{i}" for fold in range(1, num_folds + 1) for who in "fm" for i in range(2)]
    data = {
        "wav.scp": {utt_id: f"{utt_id}.wav" for utt_id in utt_ids},
        "text": {utt_id: f"words of {utt_id}" for utt_id in utt_ids},
        "utt2spk": {utt_id: utt_id[:3] for utt_id in utt_ids},
        "utt2fold": {utt_id: utt_id[1] for utt_id in utt_ids},
        "utt2num_samples": dict.fromkeys(utt_ids, "16000"),
    }
    kaldi.write_dir(path, data)
    return data


def change(path: Path, name: str, **values: str) -> None:
    kaldi.write_table(path / name, kaldi.read_table(path / name) | {k.replace("_", "-"): v for k, v in values.items()})


def sets_of(fold_dir: Path) -> list[kaldi.DataDir]:
    return [kaldi.read_dir(fold_dir / name) for name in ("train", "valid", "test")]


def test_test_is_fold_k_valid_the_next_and_train_the_rest(tmp_path):
    data = write_all(tmp_path / "all")
    dirs = ("--data_dir", tmp_path / "all", "--out_dir", tmp_path)
    result = run_entry_point("make_folds", *dirs, "--folds", "2 4")
    assert (result.returncode, result.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all", "fold2", "fold4"]
    for fold, expected in (("fold2", ("14", "3", "2")), ("fold4", ("23", "1", "4"))):
        for part, members in zip(sets_of(tmp_path / fold), expected, strict=True):
            assert part == kaldi.subset(data, [utt_id for utt_id in data["text"] if utt_id[1] in members])


def test_the_folds_together_test_every_utterance_once(tmp_path):
    data = write_all(tmp_path / "all", 3)
    dirs = ("--data_dir", tmp_path / "all", "--out_dir", tmp_path)
    assert run_entry_point("make_folds", *dirs, "--folds", "1 2 3").returncode == 0
    assert kaldi.combine([sets_of(tmp_path / f"fold{k}")[2] for k in (1, 2, 3)]) == data


def test_a_random_share_of_the_other_folds_validates_and_never_meets_the_test_speakers(tmp_path):
    data = write_all(tmp_path / "all", 5)
    command = ("make_folds", "--data_dir", tmp_path / "all", "--folds", "1 2", "--valid_split", "random:0.25")
    for out_dir in (tmp_path / "a", tmp_path / "b"):
        result = run_entry_point(*command, "--out_dir", out_dir)
        assert (result.returncode, result.stderr) == (0, "")
    for fold in ("fold1", "fold2"):
        train, valid, test = sets_of(tmp_path / "a" / fold)
        assert sorted([*train["text"], *valid["text"], *test["text"]]) == sorted(data["text"])
        assert {utt_id[1] for utt_id in test["text"]} == {fold[-1]}
        assert len(valid["text"]) == 4  # a quarter of the 16 utterances of four folds
        assert not kaldi.shared_speakers(test, train) and not kaldi.shared_speakers(test, valid)
        assert kaldi.shared_speakers(train, valid)
        assert sets_of(tmp_path / "b" / fold) == [train, valid, test]
    assert sets_of(tmp_path / "a/fold1")[1] != sets_of(tmp_path / "a/fold2")[1]


@pytest.mark.parametrize("split", ["random:0", "random:1", "random:x", "random", "speaker", ""])
def test_another_valid_split_names_what_is_allowed(tmp_path, split):
    write_all(tmp_path / "all")
    dirs = ("--data_dir", tmp_path / "all", "--out_dir", tmp_path)
    line = error_of("make_folds", *dirs, "--folds", "1", "--valid_split", split)
    assert f"--valid_split '{split}'" in line and "session and random:<share>" in line


def test_a_random_split_still_refuses_a_test_speaker_among_the_others(tmp_path):
    write_all(tmp_path / "all")
    change(tmp_path / "all", "utt2spk", s1f_0="s3m")
    dirs = ("--data_dir", tmp_path / "all", "--out_dir", tmp_path)
    assert "fold1/test" in error_of("make_folds", *dirs, "--folds", "1", "--valid_split", "random:0.3")


def test_a_speaker_in_two_sets_is_named_and_no_fold_appears(tmp_path):
    write_all(tmp_path / "all")
    change(tmp_path / "all", "utt2spk", s1f_0="s3m")
    dirs = ("--data_dir", tmp_path / "all", "--out_dir", tmp_path)
    line = error_of("make_folds", *dirs, "--folds", "1 2 3 4")
    assert "share 1 speakers, e.g. 's3m'" in line
    assert f"{tmp_path}/fold1/train and {tmp_path}/fold1/test" in line
    assert [path.name for path in tmp_path.iterdir()] == ["all"]
    allowed = run_entry_point("make_folds", *dirs, "--folds", "1 2 3 4", "--allow_shared_speakers", "true")
    assert (allowed.returncode, allowed.stderr) == (0, "")


@pytest.mark.parametrize(
    ("where", "pair"),
    [("2", "valid and {}/fold1/test"), ("3", "train and {}/fold1/test"), ("23", "train and {}/fold1/valid")],
)
def test_every_pair_of_sets_is_checked(tmp_path, where, pair):
    write_all(tmp_path / "all")
    if where == "23":
        change(tmp_path / "all", "utt2spk", s2f_0="s3f")
    else:
        change(tmp_path / "all", "utt2spk", s1f_0=f"s{where}f")
    line = error_of("make_folds", "--data_dir", tmp_path / "all", "--out_dir", tmp_path, "--folds", "1")
    assert f"{tmp_path}/fold1/{pair.format(tmp_path)}: share" in line


@pytest.mark.parametrize(
    ("value", "named"),
    [("", "'s1f-0' is in fold ''"), ("7", "'s1f-0' is in fold '7'"), ("Session1", "'s1f-0' is in fold 'Session1'")],
)
def test_a_fold_that_is_no_number_of_the_sequence_is_named(tmp_path, value, named):
    write_all(tmp_path / "all")
    change(tmp_path / "all", "utt2fold", s1f_0=value)
    line = error_of("make_folds", "--data_dir", tmp_path / "all", "--out_dir", tmp_path, "--folds", "1")
    assert f"{tmp_path}/all/utt2fold: {named}" in line


@pytest.mark.parametrize("folds", ["5", "0", "1 x", ""])
def test_a_fold_that_does_not_exist_is_an_error_that_lists_those_that_do(tmp_path, folds):
    write_all(tmp_path / "all")
    line = error_of("make_folds", "--data_dir", tmp_path / "all", "--out_dir", tmp_path, "--folds", folds)
    assert "allowed are 1 2 3 4" in line


def test_two_folds_would_leave_the_training_set_empty(tmp_path):
    write_all(tmp_path / "all", 2)
    line = error_of("make_folds", "--data_dir", tmp_path / "all", "--out_dir", tmp_path, "--folds", "1")
    assert f"{tmp_path}/all/utt2fold: 2 fold(s): the training set would be empty" in line


def test_two_folds_are_enough_where_the_validation_set_is_drawn(tmp_path):
    write_all(tmp_path / "all", 2)
    make_folds(tmp_path / "all", tmp_path, ["1"], valid_split="random:0.25")
    sizes = [len(kaldi.read_dir(tmp_path / "fold1" / name)["utt2spk"]) for name in ("train", "valid", "test")]
    assert sizes == [3, 1, 4]


@pytest.mark.parametrize("speakers, said", [
    (1, "so 3 are the least; take --fold_by utterance and give run.sh --allow_shared_speakers true"),
    (2, "ask for 2 folds and give run.sh --valid_split random:0.1, or take --fold_by utterance"),
    (4, "ask for at most 4 folds, or take --fold_by utterance"),
])  # fmt: skip
def test_what_to_do_with_fewer_speakers_than_folds_can_be_done(speakers, said):
    utt2spk = {f"u{number}": f"s{number % speakers}" for number in range(8)}
    with pytest.raises(UserError, match=f"there are only {speakers} speakers.*{said}"):
        assign_folds({"utt2spk": utt2spk}, 5)


def test_a_speaker_of_another_set_in_invisible_characters_alone_is_no_other_speaker_unless_sets_may_share(tmp_path):
    _, paths = write_sets(tmp_path)
    change(paths["test"], "utt2spk", s4f_0="s1m\u200b")
    with pytest.raises(UserError, match=r"'s1m\\u200b' differ in nothing but") as error:
        check_speakers(paths["train"], paths["valid"], [paths["test"]])
    assert f"{paths['test']}/utt2spk" in str(error.value)
    check_speakers(paths["train"], paths["valid"], [paths["test"]], allow_shared_speakers=True)


def test_speakers_that_case_tells_apart_are_printed_and_tables_that_nothing_reads_are_not_compared(tmp_path, capsys):
    _, paths = write_sets(tmp_path)
    change(paths["test"], "utt2spk", s4f_0="S1M", s4f_1="nan")
    for path, word in zip(paths.values(), ("Ok", "ok", "OK")):
        kaldi.write_table(path / "utt2comment", dict.fromkeys(kaldi.read_dir(path)["utt2spk"], word))
    check_speakers(paths["train"], paths["valid"], [paths["test"]])
    case, missing = capsys.readouterr().out.splitlines()
    assert "1 speakers differ from another one in nothing but case: 'S1M' and 's1m'" in case
    assert "a speaker is called 'nan'" in missing


def test_no_utt2fold_is_an_error(tmp_path):
    write_all(tmp_path / "all")
    (tmp_path / "all" / "utt2fold").unlink()
    line = error_of("make_folds", "--data_dir", tmp_path / "all", "--out_dir", tmp_path, "--folds", "1")
    assert f"{tmp_path}/all/utt2fold: no such file" in line


def write_sets(root: Path) -> tuple[list[object], dict[str, Path]]:
    data = write_all(root / "all")
    paths = {name: root / name for name in ("train", "valid", "test")}
    for path, members in zip(paths.values(), ("12", "3", "4"), strict=True):
        kaldi.write_dir(path, kaldi.subset(data, [utt_id for utt_id in data["text"] if utt_id[1] in members]))
    return [word for name, path in paths.items() for word in (f"--{name}_set", path)], paths


def test_disjoint_sets_pass_and_the_validation_set_may_be_decoded_too(tmp_path):
    arguments, paths = write_sets(tmp_path)
    assert run_entry_point("check_speakers", *arguments).returncode == 0
    assert run_entry_point("check_speakers", *arguments, paths["valid"]).returncode == 0


def test_a_speaker_in_train_and_in_the_second_test_set_is_named(tmp_path):
    arguments, paths = write_sets(tmp_path)
    kaldi.write_dir(tmp_path / "test2", kaldi.read_dir(paths["test"]))
    change(tmp_path / "test2", "utt2spk", s4f_0="s1m")
    line = error_of("check_speakers", *arguments, tmp_path / "test2")
    assert f"{paths['train']} and {tmp_path / 'test2'}: share 1 speakers, e.g. 's1m'" in line
    allowed = run_entry_point("check_speakers", *arguments, tmp_path / "test2", "--allow_shared_speakers", "true")
    assert (allowed.returncode, allowed.stderr) == (0, "")


def test_a_speaker_in_valid_and_test_is_named(tmp_path):
    arguments, paths = write_sets(tmp_path)
    change(paths["test"], "utt2spk", s4f_0="s3f")
    assert f"{paths['valid']} and {paths['test']}: share 1 speakers" in error_of("check_speakers", *arguments)


def test_a_shared_utterance_is_an_error_even_where_speakers_may_be_shared(tmp_path):
    arguments, paths = write_sets(tmp_path)
    line = error_of("check_speakers", *arguments, paths["train"], "--allow_shared_speakers", "true")
    assert "share 8 utterances, e.g. 's1f-0'" in line
    same = ("--train_set", paths["train"], "--valid_set", paths["train"], "--test_set", paths["test"])
    assert "share 8 utterances" in error_of("check_speakers", *same)


def test_audio_that_two_sets_share_under_two_names_is_an_error_even_where_speakers_may_be_shared(tmp_path):
    _, paths = write_sets(tmp_path)
    heard = tmp_path / "heard.wav"
    heard.touch()
    (tmp_path / "link.wav").symlink_to(heard)
    change(paths["train"], "wav.scp", s1f_0=str(heard))
    change(paths["test"], "wav.scp", s4f_1=str(tmp_path / "link.wav"))
    with pytest.raises(UserError, match=f"share 1 recordings, e.g. {heard}, which are s1f-0 and s4f-1: one corpus"):
        check_speakers(paths["train"], paths["valid"], [paths["test"]], allow_shared_speakers=True)
    assert check_speakers(paths["train"], paths["valid"], [paths["valid"]]) is None


def test_an_empty_test_set_is_named(tmp_path):
    arguments, paths = write_sets(tmp_path)
    kaldi.write_dir(paths["test"], {name: {} for name in kaldi.read_dir(paths["test"])})
    assert f"{paths['test']}: the set is empty" in error_of("check_speakers", *arguments)


@pytest.mark.parametrize("num_parts", [1, 3, 16])
def test_parts_are_even_and_combine_to_the_whole(tmp_path, num_parts):
    data = write_all(tmp_path / "all")
    split = run_entry_point(
        "split_dir", "--data_dir", tmp_path / "all", "--n", num_parts, "--out_dir", tmp_path / "parts"
    )
    assert (split.returncode, split.stderr) == (0, "")
    parts = [tmp_path / "parts" / str(number) for number in range(1, num_parts + 1)]
    sizes = [len(kaldi.read_dir(part)["text"]) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    for part in parts:
        utt_ids = kaldi.utterances(kaldi.read_dir(part))
        (part / "posteriors.jsonl").write_text("".join(f'{{"utt_id": "{utt_id}"}}\n' for utt_id in utt_ids))
        (part / "decode.json").write_text('{"beam_size": 4}\n')
    assert run_entry_point("combine_dirs", "--out_dir", tmp_path / "whole", *parts).returncode == 0
    assert kaldi.read_dir(tmp_path / "whole") == data
    lines = (tmp_path / "whole" / "posteriors.jsonl").read_text().splitlines()
    assert lines == [f'{{"utt_id": "{utt_id}"}}' for utt_id in sorted(data["text"])]
    assert (tmp_path / "whole" / "decode.json").read_text() == '{"beam_size": 4}\n'


@pytest.mark.parametrize("num_parts", [0, 17])
def test_more_parts_than_utterances_or_none_are_an_error(tmp_path, num_parts):
    write_all(tmp_path / "all")
    arguments = ("--data_dir", tmp_path / "all", "--n", num_parts, "--out_dir", tmp_path / "parts")
    assert "allowed are 1 to 16" in error_of("split_dir", *arguments)
    assert not (tmp_path / "parts").exists()


def test_parts_that_do_not_belong_together_are_an_error_that_names_one(tmp_path):
    data = write_all(tmp_path / "all")
    one, two = tmp_path / "1", tmp_path / "2"
    arguments = ("--out_dir", tmp_path / "whole", one, two)
    kaldi.write_dir(one, kaldi.subset(data, ["s1f-0"]))
    kaldi.write_dir(two, kaldi.subset(data, ["s1f-0", "s2f-0"]))
    assert f"{two}: " in (line := error_of("combine_dirs", *arguments))
    assert "duplicate id 's1f-0'" in line
    kaldi.write_dir(two, kaldi.subset(data, ["s2f-0"]))
    (one / "posteriors.jsonl").write_text("{}\n")
    assert f"{two}/posteriors.jsonl: no such file" in error_of("combine_dirs", *arguments)
    (two / "posteriors.jsonl").write_text("{}\n")
    (one / "decode.json").write_text('{"beam_size": 4}')
    (two / "decode.json").write_text('{"beam_size": 1}')
    assert f"{two}/decode.json: differs" in error_of("combine_dirs", *arguments)
    assert not (tmp_path / "whole").exists()
