import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import jiwer
import numpy as np
import pytest
import yaml
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from tiny_experiment import call

from whisper_er.base.errors import UserError
from whisper_er.bin import results as results_bin
from whisper_er.bin import score
from whisper_er.data.kaldi import write_table
from whisper_er.report.markdown import render, summary_table, table
from whisper_er.report.rows import Column
from whisper_er.score import pairing, results, scoring
from whisper_er.score.bootstrap import Interval
from whisper_er.task import Task
from whisper_er.text.conventions import CONVENTIONS, Writing
from whisper_er.text.normalizer import text_normalizer
from whisper_er.text.orthography import read_spelling
from whisper_er.text.token_list import read_token_list
from whisper_er.text.tokenizer import Tokenizer

EMOTION = Task("emotion", "category", ("angry", "happy", "sad"))
ASR = Task("asr", "text")
VALENCE = Task("valence", "scale", ("1", "3", "5"))


def write_dir(path: Path, **tables: dict[str, str]) -> Path:
    """A data directory; where no speakers are given, every utterance has one of its own."""
    path.mkdir(parents=True, exist_ok=True)
    if tables and "utt2spk" not in tables:
        tables["utt2spk"] = {utt_id: f"speaker-{utt_id}" for utt_id in next(iter(tables.values()))}
    for name, content in tables.items():
        write_table(path / name, content)
    return path


def write_token_list(path: Path, tasks=(ASR, EMOTION), language="en") -> Path:
    path.mkdir(parents=True, exist_ok=True)
    listed = [{"name": task.name, "kind": task.kind, "labels": list(task.labels)} for task in tasks]
    content = {"token_type": "bpe", "language": language, "multilingual": False, "base_size": 9, "tasks": listed}
    (path / "token_list.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def write_experiment(exp_dir: Path, token_list: Path) -> Path:
    """What scoring reads of a training: its token list, its sets and what selected the model."""
    (exp_dir / "checkpoints").mkdir(parents=True, exist_ok=True)
    shutil.copytree(token_list, exp_dir / "token_list")
    sets = {
        "train_set": {"num_utterances": 30, "speakers": ["a", "b"]},
        "valid_set": {"num_utterances": 10, "speakers": ["b", "c"]},
    }
    (exp_dir / "data.yaml").write_text(yaml.safe_dump(sets))
    (exp_dir / "environment.json").write_text(json.dumps({"command": ["train", "lr=1 e"], "git_revision": "1234"}))
    best = {"metric": "valid_emotion_accuracy", "n_best": 1, "finished": "max_steps=1 reached", "best": []}
    (exp_dir / "checkpoints" / "best.json").write_text(json.dumps(best))
    return exp_dir


def pair(tmp_path: Path, tasks, normalize=str.lower, language="en"):
    return pairing.pair_directories(tmp_path / "ref", tmp_path / "hyp", tasks, Writing(language, normalize))


def run_bin(name: str, *options: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", f"whisper_er.bin.{name}", *map(str, options)]
    return subprocess.run(command, check=False, capture_output=True, text=True, encoding="utf-8")


def test_pairs_are_made_by_id_whatever_the_order_of_the_lines(tmp_path):
    for name, lines in (("ref", "u2 happy\nu1 angry\nu3 sad\n"), ("hyp", "u3 sad\nu1 angry\nu2 angry\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "utt2emotion").write_text(lines)
    (tmp_path / "ref" / "utt2spk").write_text("u3 c\nu1 a\nu2 b\n")
    pairs = pair(tmp_path, [EMOTION])
    assert (pairs.utt_ids, pairs.speakers) == (("u1", "u2", "u3"), ("a", "b", "c"))
    assert pairs.tasks["emotion"].hypothesis == ("angry", "angry", "sad")


@pytest.mark.parametrize(
    "ref, hyp, message",
    [
        (("u1", "u2"), ("u1",), r"hyp/utt2emotion: missing u2, which .*ref/utt2emotion has"),
        (("u1",), ("u1", "u9"), r"hyp/utt2emotion: u9 not in .*ref/utt2emotion"),
        ([f"u{i}" for i in range(9)], ["u0"], "missing u1, u2, u3, u4, u5 and 3 more"),
    ],
)
def test_a_missing_or_extra_id_is_named(tmp_path, ref, hyp, message):
    write_dir(tmp_path / "ref", utt2emotion=dict.fromkeys(ref, "sad"))
    write_dir(tmp_path / "hyp", utt2emotion=dict.fromkeys(hyp, "sad"))
    with pytest.raises(UserError, match=message):
        pair(tmp_path, [EMOTION])


def test_a_reference_table_that_lacks_an_utterance_of_another_is_an_error(tmp_path):
    write_dir(tmp_path / "ref", text={"u1": "a", "u2": "b"}, utt2emotion={"u1": "sad"})
    write_dir(tmp_path / "hyp", text={"u1": "a", "u2": "b"}, utt2emotion={"u1": "sad"})
    with pytest.raises(UserError, match="ref/utt2emotion: missing u2"):
        pair(tmp_path, [ASR, EMOTION])


def test_an_empty_reference_is_an_error(tmp_path):
    write_dir(tmp_path / "ref", text={})
    write_dir(tmp_path / "hyp", text={})
    with pytest.raises(UserError, match="ref/text: no utterance"):
        pair(tmp_path, [ASR])


@pytest.mark.parametrize(
    "task, ref, hyp, message",
    [
        (EMOTION, "fear", "sad", "ref/utt2emotion: u1 has the label 'fear'.*allowed: angry happy sad"),
        (EMOTION, "sad", "fear", "hyp/utt2emotion: u1 has the label 'fear'"),
        (VALENCE, "high", "3", "ref/utt2valence: u1.*'high' is not a number"),
        (VALENCE, "3", "nan", "hyp/utt2valence: u1 has the value 'nan'"),
    ],
)
def test_a_value_that_cannot_be_scored_is_an_error_that_names_file_and_utterance(tmp_path, task, ref, hyp, message):
    write_dir(tmp_path / "ref", **{task.table: {"u1": ref}})
    write_dir(tmp_path / "hyp", **{task.table: {"u1": hyp}})
    with pytest.raises(UserError, match=message):
        pair(tmp_path, [task])


def test_unlabelled_utterances_are_named_and_left_out(tmp_path):
    write_dir(
        tmp_path / "ref",
        utt2emotion={"u1": "sad", "u2": "", "u3": "happy"},
        utt2valence={"u1": "1", "u2": "2", "u3": ""},
    )
    write_dir(
        tmp_path / "hyp",
        utt2emotion={"u1": "sad", "u2": "sad", "u3": "sad"},
        utt2valence={"u1": "2.5", "u2": "3", "u3": "4"},
    )
    tasks = [EMOTION, VALENCE]
    result = scoring.score_pairs(tasks, pair(tmp_path, tasks))
    emotion, valence = result.tasks["emotion"], result.tasks["valence"]
    assert (emotion.unlabelled, emotion.num_scored, emotion.wa) == (("u2",), 2, 0.5)
    assert emotion.recall == {"angry": None, "happy": 0, "sad": 1}
    assert (valence.unlabelled, valence.num_scored, valence.mae) == (("u3",), 2, 1.25)
    assert result.num_utterances == 3


def test_of_an_open_task_the_labels_that_training_has_are_scored_and_the_others_counted(tmp_path):
    speaker = Task("speaker", "category", ("anna", "ben"), open=True)
    reference = {"u1": "anna", "u2": "ben", "u3": "carl", "u4": "", "u5": "carl"}
    write_dir(tmp_path / "ref", utt2speaker=reference)
    write_dir(tmp_path / "hyp", utt2speaker=dict.fromkeys(reference, "anna"))
    pairs = pair(tmp_path, [speaker])
    figures = scoring.score_pairs([speaker], pairs).tasks["speaker"]
    assert (figures.num_scored, figures.wa, figures.confusion) == (2, 0.5, [[1, 0], [1, 0]])
    assert (figures.unlabelled, figures.unseen) == (("u3", "u4", "u5"), ("u3", "u5"))
    (tmp_path / "utterances.jsonl").write_text(pairing.to_lines(pairs))
    assert pairing.read_pairs(tmp_path / "utterances.jsonl") == pairs
    with pytest.raises(UserError, match="ref/utt2speaker: u3 has the label 'carl', which is not in the token list"):
        pair(tmp_path, [Task("speaker", "category", speaker.labels)])


def test_a_prediction_that_the_token_list_lacks_stays_an_error_in_an_open_task(tmp_path):
    write_dir(tmp_path / "ref", utt2speaker={"u1": "anna"})
    write_dir(tmp_path / "hyp", utt2speaker={"u1": "carl"})
    with pytest.raises(UserError, match="hyp/utt2speaker: u1 has the label 'carl'"):
        pair(tmp_path, [Task("speaker", "category", ("anna", "ben"), open=True)])


def test_an_empty_transcript_is_scored_and_its_insertions_count(tmp_path):
    write_dir(tmp_path / "ref", text={"u1": "Mm-hmm.", "u2": "It's fine.", "u3": ""})
    write_dir(tmp_path / "hyp", text={"u1": "go on", "u2": "it is FINE", "u3": "yes"})
    figures = scoring.score_pairs([ASR], pair(tmp_path, [ASR], text_normalizer("en", {}))).tasks["asr"]
    assert (figures.normalized.empty_references, figures.normalized.insertions_on_empty) == (2, 3)
    assert (figures.normalized.reference_words, figures.wer) == (3, 1.0)
    assert (figures.raw.empty_references, figures.raw.insertions_on_empty) == (1, 1)
    assert figures.wer_raw == (2 + 3 + 1) / 3  # Mm-hmm. -> go on, It's fine. -> it is FINE, (none) -> yes


SAID = {"u1": "Really good.", "u2": "Mm-hmm.", "u3": "It's twenty five dollars, OK?", "u4": ""}
HEARD = {"u1": "really, good.", "u2": "Hm", "u3": "Its 25 dollars OK", "u4": "yes"}


def test_every_convention_has_its_figure(tmp_path):
    write_dir(tmp_path / "ref", text=SAID, utt2style=dict(zip(SAID, "abab")))
    write_dir(tmp_path / "hyp", text=HEARD)
    writing = Writing("en", text_normalizer("en", {}))
    pairs = pairing.pair_directories(tmp_path / "ref", tmp_path / "hyp", [ASR], writing, ["style"])
    score = scoring.score_pairs([ASR], pairs)
    for part, ids in ((score, SAID), (score.groups["style"]["a"], ["u1", "u3"])):
        for name, convention in CONVENTIONS.items():
            ref, hyp = (
                [" ".join(convention.words(writing.text(texts[one]))) for one in ids] for texts in (SAID, HEARD)
            )
            assert getattr(part.tasks["asr"], name) == pytest.approx(jiwer.wer(ref, hyp)), name
    figures = score.tasks["asr"]
    # mmhmm -> hm; twenty five -> 25; yes / Really -> really and a comma, Mm-hmm . -> Hm, four more, yes
    assert (figures.wer_lower, figures.wer_marks) == ((1 + 2 + 1) / 8, (2 + 2 + 5 + 1) / 12)


def test_a_language_without_spaces_is_scored_by_characters(tmp_path):
    write_dir(tmp_path / "ref", text={"u1": "你好，世界。", "u2": "再见"})
    write_dir(tmp_path / "hyp", text={"u1": "你好世纪", "u2": "再见！"})
    figures = scoring.score_pairs([ASR], pair(tmp_path, [ASR], text_normalizer("zh", {}), "zh")).tasks["asr"]
    assert figures.wer == figures.cer == figures.wer_lower == 1 / 6
    assert figures.wer_marks == pytest.approx(jiwer.cer(["你好，世界。", "再见"], ["你好世纪", "再见！"]))
    assert figures.normalized.reference_words == 6


def test_the_english_normaliser_uses_the_spelling_table_and_other_languages_the_basic_one(tmp_path):
    (tmp_path / "normalizer.json").write_text('{"colour": "color"}')
    english = text_normalizer("en", read_spelling(tmp_path / "normalizer.json"))
    assert english(" The  Colour, isn't it? [LAUGHTER]") == "the color is not it"
    assert text_normalizer("de", {})("Über  den Fluß, isn't!") == "über den fluß isn t"


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}'])
def test_a_broken_spelling_table_is_an_error(tmp_path, content):
    (tmp_path / "normalizer.json").write_text(content)
    with pytest.raises(UserError, match="normalizer.json: not"):
        read_spelling(tmp_path / "normalizer.json")


def test_tasks_are_chosen_by_name():
    assert scoring.choose_tasks([ASR, EMOTION], ["emotion"]) == [EMOTION]
    with pytest.raises(UserError, match="no task 'gender'; allowed: asr emotion"):
        scoring.choose_tasks([ASR, EMOTION], ["asr", "gender"])


def test_without_a_spelling_table_no_spelling_is_folded(tmp_path):
    assert read_spelling(tmp_path / "normalizer.json") == {}


@pytest.mark.parametrize("content", ["tasks: [", "just words", "tasks: [{kind: text}]\nlanguage: en", "tasks: []", ""])
def test_a_broken_token_list_is_one_line(tmp_path, content):
    (tmp_path / "token_list.yaml").write_text(content)
    with pytest.raises(UserError, match="token_list.yaml: not a token list") as error:
        read_token_list(tmp_path)
    assert "\n" not in str(error.value)


def test_pairs_survive_the_file(tmp_path):
    write_dir(tmp_path / "ref", text={"u1": "Hé \u2028 A", "u2": ""}, utt2emotion={"u1": "", "u2": "sad"})
    write_dir(tmp_path / "hyp", text={"u1": "b", "u2": "c"}, utt2emotion={"u1": "sad", "u2": "sad"})
    pairs = pair(tmp_path, [ASR, EMOTION])
    scoring.write_score(tmp_path / "score" / "result.json", {}, pairs)
    assert pairing.read_pairs(tmp_path / "score" / scoring.UTTERANCES) == pairs


def test_ten_thousand_utterances_are_scored_in_seconds(tmp_path):
    rng = np.random.default_rng(0)
    ref, hyp = ({f"u{i:05}": label for i, label in enumerate(rng.choice(EMOTION.labels, 10000))} for _ in range(2))
    write_dir(tmp_path / "ref", utt2emotion=ref)
    write_dir(tmp_path / "hyp", utt2emotion=hyp)
    start = time.process_time()
    scoring.score_pairs([EMOTION], pair(tmp_path, [EMOTION]))
    assert time.process_time() - start < 3


@dataclass(frozen=True)
class Experiment:
    """An experiment of two folds of different size; labels: the emotion reference and hypothesis of each fold."""

    directory: Path
    labels: dict[str, tuple[list[str], list[str]]]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> Experiment:
    root = tmp_path_factory.mktemp("recipe")
    labels = {"1": (["sad", "sad", "happy"], ["sad", "happy", "happy"]), "2": (["sad", "angry"] * 3, ["angry"] * 6)}
    words = {"1": (["One colour.", "Oh", "Mm-hmm."], ["one color", "oh", "x"]), "2": (["a b"] * 6, ["a"] * 6)}
    write_token_list(root / "token_list", [ASR, EMOTION, Task("gender", "category", ("female", "male"))])
    write_dir(root / "token_list" / "tokenizer")
    (root / "token_list" / "tokenizer" / "normalizer.json").write_text('{"colour": "color"}')
    for fold in labels:
        ids = [f"f{fold}-{i}" for i in range(len(labels[fold][0]))]
        hyp_dir = root / "exp" / f"fold{fold}" / "decode_beam4" / "test"
        for path, side in ((root / f"ref{fold}", 0), (hyp_dir, 1)):
            write_dir(
                path,
                utt2emotion=dict(zip(ids, labels[fold][side])),
                text=dict(zip(ids, words[fold][side])),
                utt2gender=dict.fromkeys(ids, "male"),
            )
        decoding = {"model": "ave.safetensors", "beam_size": 4, "step": int(fold)}
        (hyp_dir / "decode.json").write_text(json.dumps(decoding))
        write_experiment(root / "exp" / f"fold{fold}", root / "token_list")
        done = run_bin(
            "score",
            "--ref_dir",
            root / f"ref{fold}",
            "--hyp_dir",
            hyp_dir,
            "--tasks",
            "asr gender emotion",
            "--exp_dir",
            root / "exp" / f"fold{fold}",
            "--out",
            hyp_dir / "score" / "result.json",
        )
        assert done.returncode == 0, done.stderr
    return Experiment(root / "exp", labels)


def test_results_hold_each_fold_mean_sd_and_the_pooled_utterances(experiment):
    labels = experiment.labels
    done = run_bin("results", "--exp_dir", experiment.directory, "--folds", "1 2", "--test_sets", "test")
    assert done.returncode == 0, done.stderr
    figures = json.loads((experiment.directory / "result.json").read_text())["decode_beam4/test"]

    ua = [balanced_accuracy_score(*labels[fold]) for fold in "12"]
    emotion = figures["pooled"]["tasks"]["emotion"]
    assert [figures["folds"][fold]["tasks"]["emotion"]["ua"] for fold in "12"] == pytest.approx(ua)
    assert figures["mean"]["emotion"]["ua"] == pytest.approx(np.mean(ua))
    assert figures["sd"]["emotion"]["ua"] == pytest.approx(np.std(ua, ddof=1))
    ref, hyp = (labels["1"][side] + labels["2"][side] for side in (0, 1))
    assert emotion["wa"] == pytest.approx(accuracy_score(ref, hyp)) != pytest.approx(figures["mean"]["emotion"]["wa"])
    assert emotion["ua"] == pytest.approx(balanced_accuracy_score(ref, hyp))
    assert emotion["confusion"] == [[3, 0, 0], [0, 1, 0], [3, 1, 1]]
    # fold 1: 3 words and an insertion on "Mm-hmm."; fold 2: 6 deletions in 12 words
    assert figures["pooled"]["tasks"]["asr"]["wer"] == pytest.approx(7 / 15)
    assert figures["pooled"]["tasks"]["asr"]["normalized"]["insertions_on_empty"] == 1
    assert figures["folds"]["2"]["decoding"] == {"model": "ave.safetensors", "beam_size": 4, "step": 2}

    markdown = (experiment.directory / "RESULTS.md").read_text()
    shown = [line for line in markdown.splitlines() if line.startswith("|")]
    assert [line for line in done.stdout.splitlines() if line.startswith("|")] == shown[:6]
    assert [cell.strip() for cell in shown[0].split("|")[1:-1]] == [
        "fold",
        "utterances",
        "WER",
        "WER raw",
        "gender accuracy",
        "emotion WA",
        "emotion UA",
        "emotion F1",
    ]
    assert [cell.strip() for cell in shown[5].split("|")[1:7]] == ["pooled", "9", "46.7", "62.5", "100.0", "55.6"]
    assert "RESULTS.md" in done.stdout
    assert "- fold 2: decoding: model `ave.safetensors`, beam_size `4`, step `2`" in markdown
    assert (
        "- fold 1: trained on 30 utterances of 2 speakers; model selected by valid_emotion_accuracy on 10 "
        "utterances of 2 speakers, 1 of them in training; tested on 3 utterances of 3 speakers, 0 of them in "
        "training, 0 in validation"
    ) in markdown
    assert "- trained with git_revision `1234`\n" in markdown and "`python train 'lr=1 e'`" in markdown
    for suffix in ("png", "svg"):
        drawn = experiment.directory / "figures" / f"confusion_emotion_decode_beam4_test.{suffix}"
        assert drawn.stat().st_size > 1000
    assert "empty references: 1, with 1 of the insertions" in markdown
    conventions = markdown.split("### Word error rates by convention\n\n")[1].split("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in conventions]
    assert rows[0] == ["words of asr", "figure", "mean ± sd", "pooled"]
    assert [row[1] for row in rows[2:]] == ["WER", "WER raw", "WER lower", "WER marks", "WER published", "CER"]
    # One colour. -> one color; Oh -> oh; Mm-hmm. -> x; six times a b -> a
    assert [row[3] for row in rows[2:5]] == ["46.7", "62.5", "50.0"]
    lower = [figures["folds"][fold]["tasks"]["asr"]["wer_lower"] for fold in "12"]
    assert lower == [2 / 4, 6 / 12] and figures["mean"]["asr"]["wer_lower"] == 0.5
    assert "with 1 British-American spellings" in markdown


def test_without_folds_there_is_one_row_and_no_mean(experiment):
    (result,) = results.collect(experiment.directory / "fold1", [], "test", "beam4")
    assert list(result.folds) == ["all"] and result.mean is None and result.sd is None
    assert len(summary_table(result).splitlines()) == 3
    assert "mean" not in render(Path("exp"), ["command"], [result])


def test_a_fold_without_scores_is_an_error_that_names_the_file(experiment):
    with pytest.raises(UserError, match="fold3/decode_beam4/test/score/result.json: no such file; run stages 5 and 6"):
        results.collect(experiment.directory, ["1", "2", "3"], "test", "beam4")
    with pytest.raises(UserError, match="exists in all of"):
        results.collect(experiment.directory, ["1", "2", "3"], "test", "")


def test_an_utterance_in_two_test_folds_is_an_error(experiment):
    fold = results.read_fold(experiment.directory / "fold1" / "decode_beam4" / "test")
    with pytest.raises(UserError, match="f1-0, f1-1, f1-2 tested in"):
        results.summarize("test", {"1": fold, "2": fold})


def test_a_figure_that_is_not_defined_in_a_fold_has_no_mean(tmp_path):
    for fold, label in (("1", ""), ("2", "sad")):
        ref = write_dir(tmp_path / f"ref{fold}", utt2emotion={f"u{fold}": label})
        hyp = write_dir(tmp_path / f"fold{fold}" / "decode_x" / "test", utt2emotion={f"u{fold}": "sad"})
        pairs = pairing.pair_directories(ref, hyp, [EMOTION], Writing("en", str))
        about = {"protocol": "", "decoding": {}, "training": {"command": []}}
        result = about | scoring.score_pairs([EMOTION], pairs).to_json()
        scoring.write_score(hyp / results.RESULT, result, pairs)
    (result,) = results.collect(tmp_path, ["1", "2"], "test", "")
    assert result.folds["1"].result.score.tasks["emotion"].wa is None
    assert result.mean["emotion"]["wa"] is None and result.pooled.tasks["emotion"].wa == 1
    markdown = render(Path("exp"), ["command"], [result])
    assert "1 utterances without a label are not scored: u1" in markdown and "nan" not in markdown


def test_a_bar_in_a_cell_does_not_split_it():
    assert table([["a|b", "c"], ["d", "e"]]).splitlines()[0] == "| a\\|b |   c |"


@pytest.mark.parametrize("lang,wer", [("", 0.5), ("en", 0.0)])
def test_text_is_normalised_in_the_language_that_it_was_decoded_in(tmp_path, lang, wer):
    for name, words in (("ref", "It's"), ("hyp", "it is")):
        write_dir(tmp_path / name, text={"u1": words})
    (tmp_path / "hyp" / "decode.json").write_text(json.dumps({"lang": lang}))
    exp_dir = write_experiment(tmp_path / "exp", write_token_list(tmp_path / "token_list", [ASR], "de"))
    where = ["--ref_dir", tmp_path / "ref", "--hyp_dir", tmp_path / "hyp", "--exp_dir", exp_dir]
    call(score, *where, "--tasks", "asr", "--out", tmp_path / "result.json")
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["text_normalizer"]["language"] == (lang or "de") and result["tasks"]["asr"]["wer"] == wer


@pytest.mark.parametrize("lang,wer", [("", 3 / 6), ("auto", 3 / 6), ("en", 2 / 3)])
def test_each_text_is_scored_as_its_language_is_written(tmp_path, whisper_tokens, lang, wer):
    """One of two words of English is wrong, and two of four characters of Chinese; as English they are one word."""
    for name, texts in (("ref", ("good day", "你好你好")), ("hyp", ("bad day", "你好好你"))):
        write_dir(tmp_path / name, text=dict(zip(("u1", "u2"), texts)), utt2lang={"u1": "", "u2": "zh"})
    (tmp_path / "hyp" / "decode.json").write_text(json.dumps({"lang": lang}))
    (tmp_path / "token_list").mkdir()
    Tokenizer(whisper_tokens, [ASR], "whisper", "en").save(tmp_path / "token_list")
    exp_dir = write_experiment(tmp_path / "exp", tmp_path / "token_list")
    sets = yaml.safe_load((exp_dir / "data.yaml").read_text())
    sets["train_set"]["languages"] = {"en": 30}  # utt2lang chose the prefixes
    (exp_dir / "data.yaml").write_text(yaml.safe_dump(sets))
    where = ["--ref_dir", tmp_path / "ref", "--hyp_dir", tmp_path / "hyp", "--exp_dir", exp_dir]
    call(score, *where, "--tasks", "asr", "--out", tmp_path / "result.json")
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["text_normalizer"]["language"] == ("en" if lang == "en" else "en zh")
    assert ("language prefixes of test: en 1, zh 1 (utt2lang)" in result["protocol"]) == (lang == "")
    assert result["tasks"]["asr"]["wer"] == pytest.approx(wer)


def test_score_prints_one_line_for_an_error_and_writes_nothing(tmp_path):
    write_dir(tmp_path / "ref", utt2emotion={"u1": "sad", "u2": "sad"})
    (write_dir(tmp_path / "hyp", utt2emotion={"u1": "sad"}) / "decode.json").write_text("{}")
    done = run_bin(
        "score",
        "--ref_dir",
        tmp_path / "ref",
        "--hyp_dir",
        tmp_path / "hyp",
        "--tasks",
        "emotion",
        "--exp_dir",
        write_experiment(tmp_path / "exp", write_token_list(tmp_path / "token_list")),
        "--out",
        tmp_path / "result.json",
    )
    assert done.returncode == 1 and not (tmp_path / "result.json").exists()
    assert done.stderr.startswith("error: ") and "missing u2" in done.stderr and done.stderr.count("\n") == 1


def write_styles(tmp_path: Path) -> list[str]:
    """Five utterances of two speakers, improvised or scripted, with posteriors; one reference label is missing."""
    ids = [f"u{i}" for i in range(5)]
    write_dir(
        tmp_path / "ref",
        utt2emotion=dict(zip(ids, ["sad", "happy", "sad", "angry", ""])),
        utt2style=dict(zip(ids, ["improvised", "scripted", "improvised", "scripted", "scripted"])),
        utt2spk=dict(zip(ids, "aabbb")),
    )
    write_dir(tmp_path / "hyp", utt2emotion=dict(zip(ids, ["sad", "sad", "angry", "angry", "sad"])))
    posterior = {"angry": 0.5, "happy": 0.125, "sad": 0.375}
    lines = [json.dumps({"utt_id": utt_id, "score": 0, "emotion": posterior}) for utt_id in ids]
    (tmp_path / "hyp" / "posteriors.jsonl").write_text("\n".join(lines) + "\n")
    return ids


def test_groups_are_scored_apart_and_posteriors_calibrated(tmp_path):
    write_styles(tmp_path)
    pairs = pairing.pair_directories(tmp_path / "ref", tmp_path / "hyp", [EMOTION], Writing("en", str), ["style"])
    scoring.write_score(tmp_path / "score" / "result.json", {}, pairs)
    assert pairing.read_pairs(tmp_path / "score" / scoring.UTTERANCES) == pairs
    result = scoring.score_pairs([EMOTION], pairs)
    style = result.groups["style"]
    assert {name: part.num_utterances for name, part in style.items()} == {"improvised": 2, "scripted": 3}
    assert style["improvised"].tasks["emotion"].confusion == [[0, 0, 0], [0, 0, 0], [1, 0, 1]]
    assert style["scripted"].tasks["emotion"].unlabelled == ("u4",)
    emotion = result.tasks["emotion"]
    assert emotion.nll == pytest.approx(-np.log([0.375, 0.125, 0.375, 0.5]).mean())
    # said with 0.375: one right of two; with 0.5: one right of two
    assert emotion.ece == pytest.approx((0.125 + 0) / 2)
    assert result.num_speakers == 2


def test_the_speaker_interval_resamples_whole_speakers(tmp_path):
    ids = [f"u{i:03}" for i in range(100)]
    write_dir(tmp_path / "ref", utt2emotion=dict.fromkeys(ids, "sad"), utt2spk=dict(zip(ids, 50 * "a" + 50 * "b")))
    write_dir(tmp_path / "hyp", utt2emotion=dict(zip(ids, 50 * ["sad"] + 50 * ["happy"])))
    intervals = scoring.score_pairs([EMOTION], pair(tmp_path, [EMOTION])).tasks["emotion"].intervals
    assert intervals["speaker"]["wa"] == Interval(0, 1)
    assert 0.38 < intervals["utterance"]["wa"].low < 0.42 and 0.58 < intervals["utterance"]["wa"].high < 0.62


@pytest.mark.parametrize(
    "table, utt_id, value, message",
    [
        ("utt2style", "u1", "", "ref/utt2style: u1 without a value"),
        ("utt2spk", "u1", "", "ref/utt2spk: u1 without"),
    ],
)
def test_an_utterance_without_a_group_or_speaker_is_named(tmp_path, table, utt_id, value, message):
    ids = write_styles(tmp_path)
    write_table(tmp_path / "ref" / table, dict.fromkeys(ids, "x") | {utt_id: value})
    with pytest.raises(UserError, match=message):
        pairing.pair_directories(tmp_path / "ref", tmp_path / "hyp", [EMOTION], Writing("en", str), ["style"])


def test_posteriors_of_other_utterances_are_an_error(tmp_path):
    write_styles(tmp_path)
    path = tmp_path / "hyp" / "posteriors.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(UserError, match="posteriors.jsonl: missing u0"):
        pair(tmp_path, [EMOTION])


def test_test_sets_that_were_scored_before_stay_in_the_results_unless_the_weights_are_newer(root):
    def listed() -> list[str]:
        call(results_bin, "--exp_dir", root / "exp", "--test_sets", "test", "--report_audio_mb", 0)
        return list(json.loads((root / "exp/result.json").read_text()))

    earlier = shutil.copytree(root / "exp/decode_x/test", root / "exp/decode_x/earlier")
    assert listed() == ["decode_x/test", "decode_x/earlier"]
    os.utime(earlier / "score/result.json", (1, 1))
    assert listed() == ["decode_x/test"]


def test_seeds_are_shown_each_and_as_mean_and_deviation(experiment, tmp_path):
    for seed in "12":
        shutil.copytree(experiment.directory, tmp_path / f"seed{seed}")
    done = run_bin(
        "results",
        "--exp_dir",
        tmp_path,
        "--folds",
        "1 2",
        "--seeds",
        "1 2",
        "--test_sets",
        "test",
        "--run_command",
        "./ser.sh --folds '1 2'",
    )
    assert done.returncode == 0, done.stderr
    markdown = (tmp_path / "RESULTS.md").read_text()
    assert "./ser.sh --folds '1 2'" in markdown
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in markdown.splitlines() if line[:1] == "|"]
    assert [row[0].strip("-") for row in rows] == ["seed", "", "1", "2", "mean ± sd"]
    assert rows[2][4] == rows[3][4] == "55.6" and rows[4][4] == "55.6 ± 0.0"
    assert (tmp_path / "seed2" / "RESULTS.md").is_file()


def test_seeds_are_compared_in_what_all_of_them_have(experiment, tmp_path):
    for seed, more in (("1", "decode_y"), ("2", "decode_z")):
        for fold in shutil.copytree(experiment.directory, tmp_path / f"seed{seed}").glob("fold*"):
            shutil.copytree(fold / "decode_beam4", fold / more)
    arguments = ["--exp_dir", tmp_path, "--folds", "1 2", "--seeds", "1 2", "--test_sets", "test"]
    done = run_bin("results", *arguments)
    assert done.returncode == 0, done.stderr
    markdown = (tmp_path / "RESULTS.md").read_text()
    assert "decode_beam4/test" in markdown and "decode_y" not in markdown and "decode_z" not in markdown
    for decoded in tmp_path.glob("seed*/fold*/decode_beam4"):
        shutil.rmtree(decoded)
    done = run_bin("results", *arguments)
    assert done.returncode == 1
    assert "decoded in the same way with every seed (1: decode_y/test; 2: decode_z/test); run stages" in done.stderr


def test_what_rounds_to_nothing_has_no_sign():
    assert Column("", "valence", "ccc", 1, 3).show({"valence": {"ccc": -0.0001}}) == "0.000"
