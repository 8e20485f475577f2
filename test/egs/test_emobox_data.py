"""egs/emobox: EmoBox's lists with all their quirks become a data directory; what does not fit stops in one line."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from assets import ASSETS
from recipe_copy import copy_recipes, run_script
from repository import EGS, TEMPLATE
from tiny_whisper import teach_to_end

from whisper_er.base.errors import UserError
from whisper_er.corpora.folds import make_folds
from whisper_er.corpora.format_audio import format_data
from whisper_er.data.kaldi import read_dir, read_table, validate

LOCAL = EGS / "emobox/ser1/local"
RATE = 16000


def utterance(key: str, emotion: str, **changes) -> dict:
    """An object of a list, of one second."""
    wav = f"downloads/odd/wav/{key}.wav"
    return {"key": f"odd-{key}", "wav": wav, "sample_rate": RATE, "num_frame": RATE, "length": 1.0, "emo": emotion} | (
        changes
    )


def write_list(path: Path, utts: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(utt, ensure_ascii=False) + "\n" for utt in utts), encoding="utf-8")


def older(utt: dict) -> dict:
    """As EmoDB's second spelling has it."""
    return {"key": utt["key"], "audio": utt["wav"], "label": utt["emo"], "sample_rate": RATE, "num_frame": RATE}


# Six speakers, two utterances each; names as some corpora have them.
KEYS = [f"{speaker}{take}" for speaker in ("Anna ", "Bö (left)", "c,spk=", "D'", "e", "f") for take in (1, 2)]
TRAIN, TEST = KEYS[:10], KEYS[10:]


@pytest.fixture
def emobox(tmp_path) -> Path:
    """A clone with one corpus, whose fold 1 has its lists under two spellings and fold 2 also a validation list."""
    root = tmp_path / "EmoBox clone"
    corpus = root / "data/odd"
    utts = {key: utterance(key, "neutral" if key.endswith("1") else "pain") for key in KEYS}
    write_list(corpus / "fold_1/odd_train_fold_1.jsonl", [utts[key] for key in TRAIN])
    write_list(corpus / "fold_1/odd_train_fold1.jsonl", [older(utts[key]) for key in TRAIN])
    write_list(corpus / "fold_1/odd_test_fold_1.jsonl", [utts[key] for key in TEST])
    write_list(corpus / "fold_2/odd_train_fold_2.jsonl", [utts[key] for key in KEYS[4:]])
    write_list(corpus / "fold_2/odd_valid_fold_2.jsonl", [utts[key] for key in KEYS[2:4]])
    write_list(corpus / "fold_2/odd_test_fold_2.jsonl", [utts[key] for key in KEYS[:2]])
    (corpus / "label_map.json").write_text('{"Neutral": "Neutral", "pain": "pain, groan", "unused": "Unused"}')
    write_speakers(corpus, {key: key[:-1] for key in KEYS[:-1]})
    return root


def write_speakers(corpus: Path, speakers: dict[str, str]) -> None:
    """EmoBox's file of segments; speakers: key -> name."""
    lines = (f"odd-{key} 3 x 0 1.0 <id=odd-{key},lang=en,spk={name},emotion=x> x" for key, name in speakers.items())
    (corpus / "data.seg.wrd.stm").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@pytest.fixture
def downloads(tmp_path) -> Path:
    for number, key in enumerate(KEYS):
        write_wav(tmp_path / "downloads" / "odd/wav" / f"{key}.wav", number)
    return tmp_path / "downloads"


def write_wav(path: Path, seed: int, seconds: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(size=round(seconds * RATE)) / 10
    soundfile.write(path, noise.clip(-0.9, 0.9), RATE, subtype="PCM_16", format=path.suffix[1:].upper())


def prepare(
    emobox: Path, downloads: Path, out_dir: Path, *options: str | Path, local: Path = LOCAL
) -> subprocess.CompletedProcess:
    command = [sys.executable, local / "prepare_emobox.py", "--emobox", emobox, "--downloads", downloads]
    command += ["--corpus", "odd", "--out_dir", out_dir, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def error_of(emobox: Path, downloads: Path, out_dir: Path, *options: str | Path) -> str:
    """The one line of a run that must fail and leave nothing."""
    result = prepare(emobox, downloads, out_dir, *options)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert not out_dir.exists()
    return result.stderr


def test_the_lists_become_sets_that_stage_1_takes(emobox, downloads, tmp_path):
    done = prepare(emobox, downloads, tmp_path / "all")
    assert done.returncode == 0, done.stderr
    data = read_dir(tmp_path / "all")
    validate(tmp_path / "all", data, ["emotion"])
    assert Counter(data["utt2emotion"].values()) == {"neutral": 6, "pain_groan": 6}
    assert data["wav.scp"]["odd-Bö_(left)1"] == f"{downloads}/odd/wav/Bö (left)1.wav"
    assert data["utt2spk"]["odd-Anna_1"] == "Anna"
    assert data["utt2spk"]["odd-c,spk=2"] == "c,spk="
    assert data["utt2spk"]["odd-f2"] == "odd-f2"
    assert "names no speaker of 1 utterances" in done.stdout
    assert "odd fold 1: train 8, valid 2 (drawn from train: 1 whole speakers), test 2; 0 of 2 test" in done.stdout
    assert "odd fold 2: train 8, valid 2, test 2; 0 of 1 test speakers are in training" in done.stdout

    format_data(tmp_path / "all", tmp_path / "dump/all")
    make_folds(tmp_path / "dump/all", tmp_path / "dump", ["2", "1"])
    fold = {name: read_dir(tmp_path / "dump/fold2" / name) for name in ("train", "valid", "test")}
    assert sorted(fold["test"]["utt2spk"]) == ["odd-Anna_1", "odd-Anna_2"]
    assert sorted(fold["valid"]["utt2spk"]) == ["odd-Bö_(left)1", "odd-Bö_(left)2"]
    assert len(fold["train"]["utt2spk"]) == 8
    assert not any(name.startswith("utt2set") for name in fold["train"])
    first = {name: set(read_table(tmp_path / "dump/fold1" / name / "utt2spk")) for name in ("train", "valid")}
    assert first["train"] | first["valid"] == {f"odd-{key}".replace(" ", "_") for key in TRAIN}


def test_the_drawn_validation_is_the_same_in_every_run(emobox, downloads, tmp_path):
    for name in ("one", "two"):
        prepare(emobox, downloads, tmp_path / name)
    assert read_table(tmp_path / "one/utt2set1") == read_table(tmp_path / "two/utt2set1")


def test_few_speakers_are_shared_with_the_validation_and_that_is_said(emobox, downloads, tmp_path):
    write_speakers(emobox / "data/odd", dict.fromkeys(KEYS, "the only one"))
    done = prepare(emobox, downloads, tmp_path / "all")
    assert "valid 2 (drawn from train: a tenth of each class, of speakers in training), test 2; 1 of 1" in done.stdout
    sets, labels = (read_table(tmp_path / "all" / name) for name in ("utt2set1", "utt2emotion"))
    assert {labels[utt_id] for utt_id, is_in in sets.items() if is_in == "valid"} == {"neutral", "pain_groan"}
    assert set(read_table(tmp_path / "all/utt2spk").values()) == {"the_only_one"}
    format_data(tmp_path / "all", tmp_path / "dump/all")
    with pytest.raises(UserError, match="share 1 speakers, e.g. 'the_only_one'.*--allow_shared_speakers true"):
        make_folds(tmp_path / "dump/all", tmp_path / "dump", ["1"])
    make_folds(tmp_path / "dump/all", tmp_path / "dump", ["1"], allow_shared_speakers=True)


def test_utterances_of_one_long_file_become_segments(emobox, downloads, tmp_path):
    corpus = emobox / "data/odd"
    for path in corpus.glob("fold_2/*.jsonl"):
        path.unlink()
    (corpus / "fold_2").rmdir()
    (corpus / "fold_1/odd_train_fold1.jsonl").unlink()
    place = {key: {"wav": "downloads/odd/all of it.flac", "start_time": n / 2, "end_time": n / 2 + 0.4}
             for n, key in enumerate(KEYS)}  # fmt: skip
    write_list(corpus / "fold_1/odd_train_fold_1.jsonl", [utterance(key, "pain", **place[key]) for key in TRAIN])
    write_list(corpus / "fold_1/odd_test_fold_1.jsonl", [utterance(key, "neutral", **place[key]) for key in TEST])
    write_wav(downloads / "odd/all of it.flac", 1, seconds=len(KEYS) / 2)
    assert prepare(emobox, downloads, tmp_path / "all").returncode == 0
    assert read_table(tmp_path / "all/wav.scp") == {"all_of_it.flac": f"{downloads}/odd/all of it.flac"}
    assert read_table(tmp_path / "all/segments")["odd-Anna_2"] == "all_of_it.flac 0.500 0.900"
    format_data(tmp_path / "all", tmp_path / "dump")
    assert set(read_table(tmp_path / "dump/utt2num_samples").values()) == {"6400"}


def test_films_are_read_by_ffmpeg_or_have_to_be_converted(emobox, downloads, tmp_path, monkeypatch):
    corpus = emobox / "data/odd"
    for path in corpus.glob("fold_*/*.jsonl"):
        path.write_text(path.read_text(encoding="utf-8").replace(".wav", ".mp4"), encoding="utf-8")
    converted = prepare(emobox, downloads, tmp_path / "converted")
    assert converted.returncode == 0, converted.stderr  # .wav beside it
    film = downloads / "odd/wav/Anna 1.mp4"
    (downloads / "odd/wav/Anna 1.wav").rename(film)
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    error = error_of(emobox, downloads, tmp_path / "all")
    assert f"{film}: mp4 is read by ffmpeg, which is not there; install it, or write" in error
    (tools / "ffmpeg").write_text("#!/bin/sh\n")
    (tools / "ffmpeg").chmod(0o755)
    assert prepare(emobox, downloads, tmp_path / "all").returncode == 0
    entry = read_table(tmp_path / "all/wav.scp")["odd-Anna_1"]
    assert entry == f"ffmpeg -nostdin -loglevel error -i '{film}' -vn -ac 1 -ar 16000 -f wav - |"


def test_missing_audio_is_counted_and_left_out_only_on_demand(emobox, downloads, tmp_path):
    (downloads / "odd/wav/f1.wav").unlink()
    (downloads / "odd/wav/D'2.wav").rename(downloads / "odd/wav/D'2.flac")
    error = error_of(emobox, downloads, tmp_path / "all")
    assert f"1 of 12 utterances have no audio: {downloads}/odd/wav/f1.wav" in error
    assert "--allow_missing true" in error
    done = prepare(emobox, downloads, tmp_path / "all", "--allow_missing", "true")
    assert "1 of 12 utterances have no audio" in done.stdout
    assert "test 1; " in done.stdout
    assert len(read_table(tmp_path / "all/wav.scp")) == 11
    error = error_of(emobox, tmp_path / "nowhere", tmp_path / "other", "--allow_missing", "true")
    assert "12 of 12 utterances have no audio" in error


def test_a_set_without_audio_is_one_line(emobox, downloads, tmp_path):
    for key in TEST:
        (downloads / f"odd/wav/{key}.wav").unlink()
    error = error_of(emobox, downloads, tmp_path / "all", "--allow_missing", "true")
    assert "odd fold 1: nothing of test has audio; find it, or run other folds" in error


def test_transcripts_become_the_text(emobox, downloads, tmp_path):
    table = tmp_path / "words"
    table.write_text("".join(f"odd-{key.replace(' ', '_')} so it is\n" for key in KEYS[:-1]) + "odd-f2\n")
    assert prepare(emobox, downloads, tmp_path / "all", "--transcripts", table).returncode == 0
    assert Counter(read_table(tmp_path / "all/text").values()) == {"so it is": 11, "": 1}
    named = ("--transcripts", table, "--transcripts_by", "a-model_zero-shot")
    assert prepare(emobox, downloads, tmp_path / "named", *named).returncode == 0
    assert set(read_table(tmp_path / "named/utt2text_source").values()) == {"a-model_zero-shot"}
    for wrong in ((*named, "--transcripts_by", "two words"), named[2:]):
        error = error_of(emobox, downloads, tmp_path / "none", *wrong)
        assert "one word, such as whisper-base_zero-shot, beside --transcripts" in error
    table.write_text("odd-e1 yes\n")
    error = error_of(emobox, downloads, tmp_path / "none", "--transcripts", table)
    assert "no line for 11 utterances" in error
    table.write_text("another yes\n")
    assert "1 keys that odd lacks: another" in error_of(emobox, downloads, tmp_path / "none", "--transcripts", table)


def test_lists_that_do_not_fit_are_one_line(emobox, downloads, tmp_path):
    corpus, out_dir = emobox / "data/odd", tmp_path / "all"
    assert "data has no such corpus; it has odd" in error_of(emobox, downloads, out_dir, "--corpus", "emodb")
    assert "it is a clone of EmoBox" in error_of(tmp_path, downloads, out_dir)
    labels = corpus / "label_map.json"
    labels.write_text('{"Neutral": "Neutral"}')
    assert "lacks the label 'pain'; it has Neutral" in error_of(emobox, downloads, out_dir)
    labels.write_text('{"Neutral": "Neutral", "pain": "Pain"}')
    test_list = corpus / "fold_1/odd_test_fold_1.jsonl"
    good = test_list.read_text(encoding="utf-8")
    test_list.write_text(good + json.dumps(utterance(TRAIN[0], "neutral")) + "\n", encoding="utf-8")
    assert f"odd-{TRAIN[0]} is in train and in test" in error_of(emobox, downloads, out_dir)
    test_list.write_text(good + '{"key": "odd-x"}\n', encoding="utf-8")
    assert "line 3 lacks a path, a label or a length" in error_of(emobox, downloads, out_dir)
    test_list.unlink()
    assert "no list odd_test_fold_1.jsonl" in error_of(emobox, downloads, out_dir)


def test_run_sh_gives_the_stages_the_language_the_folds_and_what_is_theirs(emobox, downloads, tmp_path):
    recipe = copy_recipes(tmp_path / "clone") / "emobox/ser1"
    (recipe / "ser.sh").unlink()
    options = (TEMPLATE / "ser.sh").read_text(encoding="utf-8").partition("## options")[2].partition("## end of")[0]
    (recipe / "ser.sh").write_text(f"#!/bin/bash\nprintf '%s\\n' \"$@\"\nexit\n## options{options}## end of options\n")
    (recipe / "ser.sh").chmod(0o755)
    with open(recipe / "local/corpora.yaml", "a") as file:
        file.write("odd: {language: mixed}\n")
    given = ("--emobox", emobox, "--downloads", downloads, "--corpus", "odd", "--mixed_lang", "el")
    words = run_script(recipe / "run.sh", *given, "--stage=3", "--ser_args", "a=1 b=2").splitlines()
    value = {option: words[number + 1] for number, option in enumerate(words) if option.startswith("--")}
    assert (value["--lang"], value["--folds"], value["--expdir"]) == ("el", "1 2", "exp/odd")
    assert shlex.split(value["--local_data_opts"])[:6] == ["--emobox", str(emobox), "--downloads", str(downloads),
                                                           "--corpus", "odd"]  # fmt: skip
    assert words[-3:] == ["--stage=3", "--ser_args", "a=1 b=2"]
    words = run_script(recipe / "run.sh", *given, "--expdir", "exp/a", "--paths_from", "/x", "--nj", "1").splitlines()
    assert words[-8:] == ["--paths_from", str(recipe), "--expdir", "exp/a", "--paths_from", "/x", "--nj", "1"]
    for wrong, message in (
        (("--corpus", "odd"), "error: --emobox is missing"),
        ((*given, "--corpus", "../odd"), "error: --corpus is '../odd'; write a name such as ravdess"),
        ((*given, "--stag", "3"), "error: unknown option --stag; did you mean --stage?"),
        ((*given, "--local_data_opts=x"), "error: --local_data_opts: what local/data.sh needs has options of its own"),
    ):
        done = subprocess.run([recipe / "run.sh", *wrong], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and done.stderr.startswith(message)


def test_stage_1_prepares_anew_where_the_lists_have_changed(emobox, downloads, tmp_path):
    recipe = copy_recipes(tmp_path / "clone") / "emobox/ser1"
    with open(recipe / "local/corpora.yaml", "a") as file:
        file.write("odd: {language: en}\n")
    labels = emobox / "data/odd/label_map.json"

    def prepares() -> bool:
        options = ("--emobox", emobox, "--downloads", downloads, "--corpus", "odd", "--stage", "1", "--stop_stage", "1")
        return "data prep: local/data.sh" in run_script(recipe / "run.sh", *options, "--nj", "1", OMP_NUM_THREADS="1")

    assert prepares()
    labels.touch()
    assert not prepares()
    labels.write_text(labels.read_text().replace(': "Neutral"', ': "Calm"'))
    os.utime(labels, (0, 0))  # its content tells, not its time
    assert prepares()
    assert "calm" in read_table(recipe / "dump/odd/fold1/train/utt2emotion").values()


def test_the_digest_is_of_every_file_that_is_read(emobox, downloads, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(LOCAL)
    from emobox import lists_digest

    assert "the lists of odd have changed" in error_of(emobox, downloads, tmp_path / "all", "--lists_digest", "another")
    corpus = emobox / "data/odd"
    digests = {lists_digest(corpus)}
    write_track2(emobox, [])
    others = emobox / "data/track2"
    (others / "other_selected_balenced.jsonl").write_text("of no use here")
    paths = [path for path in corpus.rglob("*") if path.is_file()] + [others / "ODD_selected_balenced.jsonl"]
    for number, path in enumerate(paths, start=1):
        path.write_bytes(path.read_bytes() + b" ")
        digests.add(lists_digest(corpus))
        assert len(digests) == number + 1, path
    assert len(digests) == 10  # six lists, labels, speakers, track2
    (corpus / "README").write_text("of no use here")
    assert lists_digest(corpus) in digests


def write_track2(emobox: Path, entries: list[tuple[str, str, str]]) -> None:
    """entries: wav_filename, label, speaker."""
    objects = [dict(zip(("wav_filename", "label", "speaker"), entry)) for entry in entries]
    write_list(emobox / "data/track2/ODD_selected_balenced.jsonl", objects)


def test_the_entries_of_track2_become_a_table_that_stage_1_keeps(emobox, downloads, tmp_path):
    write_track2(emobox, [
        ("audio/Anna 1.wav", "neutral", "Anna"), ("x/e1.wav", "pain_groan", "e"),  # e1 is neutral in the lists
        ("y/D'2.wav", "pain_groan", "someone else"), ("y/nobody.wav", "neutral", "Anna"),
    ])  # fmt: skip
    done = prepare(emobox, downloads, tmp_path / "all")
    assert (
        "odd track2: 2 utterances for 4 entries; 2 mean no utterance (y/D'2.wav, y/nobody.wav); 1 have another label "
        "here (x/e1.wav)\n" in done.stdout
    )
    format_data(tmp_path / "all", tmp_path / "dump/all")
    table = read_table(tmp_path / "dump/all/utt2track2")
    assert len(table) == 12
    assert {utt_id for utt_id, value in table.items() if value == "test"} == {"odd-Anna_1", "odd-e1"}
    (downloads / "odd/wav/e1.wav").unlink()
    done = prepare(emobox, downloads, tmp_path / "fewer", "--allow_missing", "true")
    assert "odd track2: 1 of them have no audio" in done.stdout
    assert Counter(read_table(tmp_path / "fewer/utt2track2").values()) == {"": 10, "test": 1}
    assert "data has no such corpus; it has odd" in error_of(emobox, downloads, tmp_path / "none", "--corpus", "track2")


def test_a_file_name_that_several_utterances_have_is_told_by_speaker_and_label(monkeypatch, capsys):
    """SAVEE's lists write DC_a01.wav for DC/a01.wav; MELD numbers the dialogues of each of its splits anew."""
    monkeypatch.syspath_prepend(LOCAL)
    from emobox import Corpus, Utterance
    from track2 import match

    files = {"1": "dev/dia1.mp4", "2": "test/dia1.mp4", "3": "train/dia1.mp4", "4": "DC_a01.wav", "5": "KL_a01.wav"}
    labels = {"1": "joy", "2": "anger", "3": "joy", "4": "anger", "5": "anger"}
    speakers = {"1": "Ross", "2": "Ross", "3": "Joey", "4": "DC", "5": "KL"}
    utterances = {key: Utterance(key, files[key], labels[key], None, 1.0) for key in files}
    corpus = Corpus("some", utterances, {"joy": "happy", "anger": "angry"}, speakers)

    def matched(*entry: str) -> set[str]:
        return match(corpus, [dict(zip(("wav_filename", "label", "speaker"), entry))])

    assert matched("audio/dia1.wav", "happy", "Ross") == {"1"}
    assert matched("audio/dia1.wav", "angry", "Ross") == {"2"}
    assert matched("audio/dia1.wav", "sad", "Joey") == {"3"}
    assert matched("KL/a01.wav", "angry", "KL") == {"5"}
    capsys.readouterr()
    assert matched("audio/dia1.wav", "sad", "Ross") == set()
    assert capsys.readouterr().out.endswith("1 mean several (audio/dia1.wav)\n")


def test_speakers_say_the_language_of_a_mixed_corpus(emobox, downloads, tmp_path, monkeypatch):
    """ESD's keys and speakers are esd-0001-000001 and 0001."""
    monkeypatch.syspath_prepend(LOCAL)
    from emobox import languages_of
    from prepare_emobox import language

    esd = languages_of("esd")
    spoken = {f"{number:04}": language(f"{number:04}", esd) for number in range(1, 21)}
    assert Counter(spoken.values()) == {"zh": 10, "en": 10} and (spoken["0010"], spoken["0011"]) == ("zh", "en")
    for speaker in ("0021", "5", "00011"):
        with pytest.raises(UserError, match=rf"languages: the speaker '{speaker}' has none; it has zh 0001-0010, en "):
            language(speaker, esd)

    local = tmp_path / "local"
    shutil.copytree(LOCAL, local)
    with open(local / "corpora.yaml", "a") as file:
        file.write("odd: {language: mixed, languages: {zh: e-f, el: A1-Z9}}\n")
    write_speakers(emobox / "data/odd", {key: "e" if key[0] in "ef" else "B2" for key in KEYS})
    done = prepare(emobox, downloads, tmp_path / "all", local=local)
    assert done.returncode == 0, done.stderr
    assert Counter(read_table(tmp_path / "all/utt2lang").values()) == {"zh": 4, "el": 8}
    write_speakers(emobox / "data/odd", dict.fromkeys(KEYS, "g"))
    assert "the speaker 'g' has none" in prepare(emobox, downloads, tmp_path / "none", local=local).stderr


COUNTS = {  # utterances, speakers, classes, folds of the corpora as published
    "cremad": (7442, 91, 6, 1),
    "emodb": (535, 10, 7, 5),
    "iemocap": (5531, 10, 4, 5),
    "meld": (13706, 304, 7, 1),
    "pavoque": (7334, 1, 5, 1),
    "ravdess": (1440, 24, 8, 6),
    "urdu": (400, 29, 4, 1),
}


@pytest.mark.skipif(not ASSETS, reason="WHISPER_ER_ASSETS names no directory with EmoBox's lists")
@pytest.mark.parametrize("name", COUNTS)
def test_the_published_lists_are_read_whole(name, monkeypatch):
    monkeypatch.syspath_prepend(LOCAL)
    from emobox import language_of, read_corpus

    corpus = read_corpus(Path(ASSETS) / "emobox", name)
    classes = {corpus.label(utt_id) for utt_id in corpus.utterances}
    speakers = {corpus.speakers[utt_id] for utt_id in corpus.utterances}
    assert (len(corpus.utterances), len(speakers), len(classes), len(corpus.folds)) == COUNTS[name]
    for sets in corpus.folds.values():
        assert sum(map(len, sets.values())) == len(corpus.utterances)
    assert language_of(name) in ("de", "en", "ur")


@pytest.mark.skipif(not ASSETS, reason="WHISPER_ER_ASSETS names no directory with EmoBox's lists")
@pytest.mark.parametrize("name,per_class,said", [
    ("iemocap", [60, 60, 60, 60], ""), ("ravdess", [60, 60, 60, 60], ""), ("emodb", None, ""),
    ("meld", [59, 60, 58, 59], "; 2 mean no utterance (audio/final_videos_testdia100_utt5.wav, "
     "audio/final_videos_testdia12_utt3.wav); 2 mean several (audio/dia208_utt1.wav, audio/dia252_utt15.wav)"),
])  # fmt: skip
def test_the_published_entries_of_track2_are_found(name, per_class, said, monkeypatch, capsys):
    monkeypatch.syspath_prepend(LOCAL)
    from emobox import read_corpus
    from track2 import match, read_track2

    corpus = read_corpus(Path(ASSETS) / "emobox", name)
    entries = read_track2(Path(ASSETS) / "emobox", corpus)
    if per_class is None:
        assert entries == []
        return
    counts = Counter(corpus.label(utt_id) for utt_id in match(corpus, entries))
    assert [counts[label] for label in ("angry", "happy", "neutral", "sad")] == per_class
    assert capsys.readouterr().out == f"{name} track2: {sum(per_class)} utterances for 240 entries{said}\n"


@pytest.mark.skipif(not ASSETS, reason="WHISPER_ER_ASSETS names no directory with EmoBox's lists")
@pytest.mark.parametrize("name,crossing", [("urdu", 0), ("pavoque", 60), ("emodb", 0)])
def test_a_drawn_validation_has_every_class_and_nothing_that_is_heard_elsewhere(name, crossing, monkeypatch, capsys):
    """A whole speaker of URDU says one class alone; PAVOQUE has recordings under two keys."""
    monkeypatch.syspath_prepend(LOCAL)
    from emobox import read_corpus
    from prepare_emobox import data_dir, fold

    corpus = read_corpus(Path(ASSETS) / "emobox", name)
    data = data_dir(corpus, {utt_id: Path("a.wav") for utt_id in corpus.utterances})
    capsys.readouterr()
    for number, sets in corpus.folds.items():
        chosen = fold(corpus, number, sets, data)
        assert {utt_id for utt_id, is_in in chosen.items() if is_in == "test"} == set(sets["test"])
        labels, heard = (
            {
                part: {table(utt_id) for utt_id, is_in in chosen.items() if is_in == part}
                for part in ("train", "valid", "test")
            }
            for table in (data["utt2emotion"].get, lambda utt_id: corpus.utterances[utt_id].sound)
        )
        assert labels["valid"] == labels["train"]
        assert not heard["valid"] & (heard["train"] | heard["test"])
        said = f"; EmoBox has {crossing} recordings in both, under two keys" if crossing else "are in training\n"
        assert said in capsys.readouterr().out


def test_whisper_speaks_every_language_of_the_table(monkeypatch):
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    monkeypatch.syspath_prepend(LOCAL)
    import emobox

    corpora = emobox.about_all()
    assert len(corpora) == 32
    assert {entry["language"] for entry in corpora.values()} <= LANGUAGES.keys() | {"mixed"}
    assert {language for entry in corpora.values() for language in entry.get("languages", ())} <= LANGUAGES.keys()


def test_a_whisper_writes_the_transcripts_once_and_the_data_say_so(
    emobox, downloads, whisper_directory, tmp_path, warm_python
):
    recipe = copy_recipes(tmp_path / "clone", warm_python) / "emobox/ser1"
    with open(recipe / "local/corpora.yaml", "a") as file:
        file.write("odd: {language: de}\n")
    whisper = shutil.copytree(whisper_directory, tmp_path / "mine/whisper-tiny")
    teach_to_end(whisper)
    corpus = ("--emobox", emobox, "--downloads", downloads, "--corpus", "odd", "--nj", "1")
    given = (*corpus, "--transcribe", "true")
    model, tasks = ("--whisper_model", whisper), ("--tasks", "asr emotion")
    for options, message in (
        ((*given, *model, *tasks, "--transcripts", "words"), "--transcribe and --transcripts or --transcripts_by"),
        ((*given, *tasks), "--transcribe needs --whisper_model, the Whisper that transcribes"),
        ((*corpus, "--transcripts_by", "me"), "--transcripts_by 'me' says who wrote --transcripts, which is missing"),
    ):
        done = subprocess.run([recipe / "run.sh", *options], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and done.stderr.startswith(f"error: {message}") and done.stderr.count("\n") == 1

    name = whisper.name
    first = run_script(recipe / "run.sh", *given, *model, *tasks, "--stop_stage", "2")
    assert f"transcribing: dump/odd/all + {whisper} -> data/odd/transcripts_{name}/text" in first
    text = read_table(recipe / f"data/odd/transcripts_{name}/text")
    train, valid = (read_dir(recipe / f"dump/odd_{name}/fold1/{set_name}") for set_name in ("train", "valid"))
    assert len(text) == len(KEYS) and any(text.values())
    assert train["text"] == {utt_id: text[utt_id] for utt_id in train["utt2spk"]}
    assert set((train | valid)["utt2text_source"].values()) == {f"{name}_zero-shot"}
    assert not (recipe / "dump/odd/all/text").exists() and not list((recipe / f"dump/odd_{name}/all/wav").iterdir())
    lists = list((recipe / f"data/odd_{name}/token_list").glob("*/fold1/token_list.yaml"))
    assert len(lists) == 1 and "language: de" in lists[0].read_text()

    os.utime(recipe / f"data/odd/transcripts_{name}/.made_with", (0, 0))  # the content of the data tells, not its time
    again = run_script(recipe / "run.sh", *given, *model, *tasks, "--stop_stage", "2")
    assert "->" not in again and "transcribing" not in again
    assert "->" not in run_script(recipe / "run.sh", *given, *model, *tasks, "--stage", "2", "--stop_stage", "2")

    other = shutil.copytree(whisper, tmp_path / "openai/whisper-tiny")
    command = [recipe / "run.sh", *given, "--whisper_model", other, *tasks]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and f"{name}/text is by {whisper}, of the same name; give one of them" in done.stderr

    words = tmp_path / "words"
    words.write_text("".join(f"odd-{key.replace(' ', '_')} so it is\n" for key in KEYS))
    human = ("--transcripts", words, "--stop_stage", "1")
    run_script(recipe / "run.sh", *corpus, *human, *tasks)
    assert set(read_table(recipe / "dump/odd_text/fold2/test/text").values()) == {"so it is"}
    assert not (recipe / "dump/odd_text/all/utt2text_source").exists()
    said = run_script(recipe / "run.sh", *corpus, *human, "--tasks", "emotion")  # of what the others have prepared
    assert said.startswith("no asr in --tasks 'emotion': data/odd, the data without text\n") and "->" not in said
    assert "corpus: odd, one of the 32" in (recipe / "data/odd/data_card.yaml").read_text()
