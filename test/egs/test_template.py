"""The guide egs/TEMPLATE/README.md, followed to the letter: its commands are run in a fresh copy of the recipes.

Its corpus, ~/mycorpus, is a tiny one here, made below a HOME of the test's own. Two kinds of commands are cut short:
of the one that needs a pretrained Whisper the options are checked (--help), and those that add a task end with its
tokens or its folds.
"""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from guide import GUIDE, Reader, commands
from repository import ROOT

from whisper_er.data import kaldi
from whisper_er.text.token_list import read_token_list

SPEAKERS = {"Anna": "female", "Ben": "male", "Cleo": "female", "Dirk": "male", "Eva": "female"}
VALENCE = {"angry": "1.5", "happy": "4.5"}
TEXTS = [
    "i see the red hat again",
    "what a lovely picture",
    "my brother has a brown dog",
    "thank you for the cake",
    "we go to the village now",
    "stop, we lost the key",
    "there is a clock at school",
    "that was very good, jim",
]
SHORT = {  # an option of a command, and what cuts that command short
    "--whisper_model": "--help",
    "--scales": "--stop_stage 2",
    "--open_tasks": "--stop_stage 2",
    "--fold_by": "--stop_stage 1",
}


def shortened(text: str) -> str:
    """Commands, those of SHORT cut short."""
    for option, more in SHORT.items():
        text = re.sub(rf"(^\./run\.sh (?:.*\\\n)*.*{option} (?:.*\\\n)*.*)$", rf"\1 {more}", text, flags=re.MULTILINE)
    return text


def write_corpus(directory: Path) -> None:
    """As people have it: any rate, a stereo file, a CSV that Excel saved, cells left empty, quotes and commas."""
    rng = np.random.default_rng(0)
    (directory / "wav").mkdir(parents=True)
    lines = [line.strip() for line in GUIDE.partition("## 1")[0].splitlines() if line.startswith("    ")]
    header, example = csv.reader(lines)
    rows = [
        [f"{speaker} take {number}.wav", speaker, emotion, gender, VALENCE[emotion], TEXTS[number]]
        for speaker, gender in SPEAKERS.items()
        for number, emotion in enumerate(2 * list(VALENCE))
    ]
    assert rows[1][0] == "Anna take 1.wav"
    rows[1] = example
    for row, column in ((2, 4), (6, 3), (8, 2), (9, 5)):
        rows[row][column] = ""
    for index, row in enumerate(rows):
        rate, channels = ((8000, 1), (16000, 1), (44100, 2))[index % 3]
        soundfile.write(directory / "wav" / row[0], 0.1 * rng.standard_normal((rate // 2, channels)), rate)
    with open(directory / "labels.csv", "w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, dialect="excel").writerows([header, *rows])


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Reader:
    """Has made the recipe and written local/data.sh."""
    reader = Reader(tmp_path_factory.mktemp("template"), write_corpus)
    (reader.home / "recording.wav").write_bytes((reader.home / "mycorpus/wav/Ben take 2.wav").read_bytes())
    assert "egs/TEMPLATE/README.md" in reader.follow("Make the recipe")
    assert f"{len(SPEAKERS) * 4} utterances" in reader.follow("Write local/data.sh")
    return reader


def test_local_data_sh_has_at_most_thirty_lines_and_writes_the_corpus_as_it_is(reader):
    assert len((reader.recipe / "local/data.sh").read_text().splitlines()) <= 30
    data = kaldi.read_dir(reader.recipe / "data/all")
    assert data["text"]["Anna_take_1"] == 'no, she said "stop"' and data["utt2gender"]["Ben_take_2"] == ""
    assert len(set(zip(data["utt2spk"].values(), data["utt2fold"].values()))) == len(SPEAKERS)


def test_what_the_guide_shows_of_run_sh_is_there():
    (shown,) = re.findall(r"\n\n```\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
    assert "--tasks" in shown and shown in (ROOT / "egs/TEMPLATE/ser1/run.sh").read_text()


def test_what_takes_long_is_cut_short_and_nothing_else():
    assert [line for line in shortened(commands("Run")).splitlines() if line.endswith(" --help")] == [
        './run.sh --corpus_dir "${corpus}" --whisper_model openai/whisper-base --ngpu 1 --gpu_inference true --help'
    ]
    assert re.findall("--stop_stage .$", shortened(commands("Add a task")), re.MULTILINE) == [
        "--stop_stage 2", "--stop_stage 2", "--stop_stage 1"
    ]  # fmt: skip
    assert commands("Look") in GUIDE.replace("```\n", "")


def test_the_guide_leads_from_files_to_scores_to_a_recording_and_to_more_tasks(reader):
    said = reader.follow("Run", shortened)
    assert "emotion UA" in said and "exp/smoke/RESULTS.md" in said
    assert "--whisper_model" in said  # of --help, with the options of the real run
    said = reader.follow("Look")
    assert "# Results of smoke" in said and re.search(r"recording\.wav: gender=\w+ \(.*emotion=", said)
    reader.follow("Add a task", shortened)
    (scale,) = reader.recipe.glob("data/token_list/*_valence/fold1")
    assert read_token_list(scale).tasks[-1].labels == ("1", "2", "3", "4", "5")
    (opened,) = reader.recipe.glob("data/token_list/*_open_speaker/fold1")
    _, speaker, _ = read_token_list(opened).tasks
    assert speaker.open and len(speaker.labels) == len(SPEAKERS) - 2  # of the folds that train
    trained_on = kaldi.read_dir(reader.recipe / "dump/known_speakers/fold1/train")
    assert set(trained_on["utt2spk"].values()) == set(SPEAKERS)
