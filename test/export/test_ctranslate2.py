"""A model that CTranslate2 runs against the one that it was converted from."""

import json
import math
import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file
from tiny_experiment import call
from tiny_export import SECONDS, VALUES, learn, sounds, tokenizer_of, write_experiment
from tiny_whisper import ORDERS, batch_of, tiny_model

from whisper_er.base.errors import UserError
from whisper_er.bin import export_ctranslate2, info
from whisper_er.config import DecodeConfig
from whisper_er.data import kaldi
from whisper_er.export import ctranslate2_check
from whisper_er.export.ctranslate2 import convert
from whisper_er.export.ctranslate2_check import Check, compare, same
from whisper_er.models.base import Predictor
from whisper_er.recognize.ctranslate2_engine import prompt_of
from whisper_er.recognize.pretrained import open_model
from whisper_er.recognize.recognizer import Recognizer
from whisper_er.task import Prediction, Task, scale

ctranslate2 = pytest.importorskip("ctranslate2")
BEST = DecodeConfig(posterior="best")


@pytest.fixture(scope="module")
def utterances(tmp_path_factory):
    return sounds(tmp_path_factory.mktemp("ctranslate2") / "wav")


@pytest.fixture(scope="module", params=[("whisper", ORDERS[0]), ("bpe", ORDERS[2])])
def learned(request, whisper_tokens, bpe_tokens, utterances, tmp_path_factory):
    """Experiment, and what it was converted to."""
    token_type, order = request.param
    root = tmp_path_factory.mktemp(token_type)
    tokenizer = tokenizer_of((token_type, {"whisper": whisper_tokens, "bpe": bpe_tokens}[token_type]), order)
    exp_dir = write_experiment(root / "exp", learn(tokenizer, utterances))
    convert(exp_dir, root / "ct2", "float32")
    return exp_dir, root / "ct2"


@pytest.fixture(scope="module")
def data_dir(utterances, tmp_path_factory):
    """The utterances as a dump directory; one as long as another goes through CTranslate2 with it."""
    path = tmp_path_factory.mktemp("dump") / "test"
    every = [replace(utt, utt_id=f"{utt.utt_id}-{copy}") for utt in utterances for copy in (1, 2)]
    kaldi.write_dir(path, {
        "wav.scp": {utt.utt_id: utt.audio for utt in every}, "utt2spk": {utt.utt_id: "s" for utt in every},
        "utt2num_samples": {utt.utt_id: str(utt.num_samples) for utt in every},
    })  # fmt: skip
    return path


def predictions(directory, utterances) -> list[Prediction]:
    recognizer = Recognizer.open(directory)
    ((*found,),) = recognizer.predict([batch_of(utterances, recognizer.tokenizer)], BEST)
    return found


def test_text_labels_and_posteriors_are_those_of_the_model(learned, utterances):
    ours, theirs = (predictions(path, utterances) for path in learned)
    assert [item.values for item in ours] == VALUES  # learned by heart, so that they differ between utterances
    for one, two in zip(ours, theirs, strict=True):
        assert (one.utt_id, one.values) == (two.utt_id, two.values)
        for task, posterior in one.posteriors.items():
            assert two.posteriors[task] == pytest.approx(posterior, abs=1e-4)


@pytest.mark.parametrize("maxlenratio", [0.01, 2.0])
def test_texts_that_may_be_cut_are_those_of_the_model(learned, utterances, maxlenratio):
    config = replace(BEST, maxlenratio=maxlenratio)
    opened = [Recognizer.open(directory) for directory in learned]
    ours, theirs = (next(one.predict([batch_of(utterances, one.tokenizer)], config)) for one in opened)
    assert [item.warnings for item in ours] == [item.warnings for item in theirs]
    assert {bool(item.warnings) for item in theirs} == {maxlenratio < 1}


def test_no_token_is_written_twice_where_that_is_asked_for(learned, utterances):
    model = open_model(learned[1]).model
    batch, num_text = batch_of(utterances[2:], model.tokenizer), model.tokenizer.text.num_text
    mel_BFN = model.logmel(batch.wave_BS, batch.samples_B)[0].numpy()
    found = [
        model.search(mel_BFN, 20, prompt_of(model.tokenizer), DecodeConfig(no_repeat_ngram_size=size))[0]
        for size in (0, 1)
    ]
    free, unique = ([index for index in one.ids if index < num_text] for one in found)
    assert len(set(unique)) == len(unique) > 0
    assert (unique == free) == (len(set(free)) == len(free))  # "sad day" has a token twice where a token is a byte


def test_an_utterance_gives_the_same_alone_and_beside_others_of_its_length(learned, utterances):
    _, directory = learned
    twins = [replace(utterances[0], utt_id="twin"), *utterances, utterances[0]]
    together = predictions(directory, twins)
    alone = [predictions(directory, [utterance])[0] for utterance in twins]
    for one, two in zip(alone, together, strict=True):
        assert (one.utt_id, one.values) == (two.utt_id, two.values)


def test_a_short_utterance_has_its_own_limit_beside_a_long_one_padded_to_the_same_length(
    bpe_tokens, utterances, tmp_path
):
    model = tiny_model(tokenizer_of(("bpe", bpe_tokens)))  # it has learned nothing, and does not stop by itself
    convert(write_experiment(tmp_path / "exp", model, "30s"), tmp_path / "ct2", "float32")
    recognizer = Recognizer.open(tmp_path / "ct2")
    config = replace(BEST, maxlenratio=0.1)
    alone, beside = (
        next(iter(recognizer.predict([batch_of(chosen, recognizer.tokenizer)], config)))[0]
        for chosen in (utterances[:1], [utterances[0], utterances[2]])
    )
    assert alone.values == beside.values
    limit = math.ceil(0.1 * 50 * SECONDS[0])
    assert len(bpe_tokens.encode(alone.values["asr"])) <= limit


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", ["whisper", "bpe"])
def test_a_malformed_hypothesis_gets_every_label(whisper_tokens, bpe_tokens, utterances, tmp_path, kind, order):
    tokens = {"whisper": whisper_tokens, "bpe": bpe_tokens}[kind]
    model = tiny_model(tokenizer_of((kind, tokens), order))  # it has learned nothing
    convert(write_experiment(tmp_path / "exp", model), tmp_path / "ct2", "float32")
    recognizer = Recognizer.open(tmp_path / "ct2")
    ((*found,),) = recognizer.predict([batch_of(utterances, recognizer.tokenizer)], BEST)
    assert recognizer.model.completed > 0
    for item in found:
        for task in recognizer.tokenizer.tasks:
            if task.kind == "category":
                posterior = item.posteriors[task.name]
                assert sum(posterior) == pytest.approx(1)
                assert item.values[task.name] in task.labels


def test_text_behind_the_first_fault_is_not_lost(learned, utterances):
    model = open_model(learned[1]).model
    (gender, *_), (emotion, *_) = (
        model.tokenizer.task_ids[-2:]
        if not model.tokenizer.task_ids[0]
        else (model.tokenizer.task_ids[0], model.tokenizer.task_ids[2])
    )
    engine = model.engine
    said = SimpleNamespace(sequences_ids=[[gender, gender, 2, 3, emotion]], scores=[-1.0])

    def generate(features, prompts, beam_size, **options):
        return [said] if beam_size > 1 else engine.generate(features, prompts, beam_size=beam_size, **options)

    batch = batch_of(utterances[:1], model.tokenizer)
    mel_BFN = model.logmel(batch.wave_BS, batch.samples_B)[0].numpy()
    model.engine = SimpleNamespace(encode=engine.encode, generate=generate)
    (found,) = model.search(mel_BFN, 20, prompt_of(model.tokenizer), DecodeConfig())
    assert [index for index in found.ids if index < model.tokenizer.text.num_text] == [2, 3]
    assert model.completed == 1 and found.ids[-1] == model.tokenizer.end


def test_a_label_that_is_missing_is_the_models_best_after_what_was_said(learned, utterances):
    """Of what was learned the last label is cut off: what comes in its place is it, and the posterior says so."""
    model = open_model(learned[1]).model
    tokenizer, batch = model.tokenizer, batch_of(utterances[:1], model.tokenizer)
    features = model.logmel(batch.wave_BS, batch.samples_B)[0].numpy()
    ids = tokenizer.encode(utterances[0].values)[0][:-1]
    assert ids[-1] in tokenizer.task_ids[2]
    kept, state = model.well_formed(ids[:-1], 20)
    encoded = ctranslate2.StorageView.from_array(features)
    (said,), (best,) = model.label(encoded, prompt_of(tokenizer), [kept], [state])
    assert (kept, said) == (ids[:-1], ids)
    assert tokenizer.task_ids[2][int(best[2].argmax())] == ids[-1]


def test_the_beginning_that_is_kept_is_allowed_and_leaves_room_for_the_labels(learned):
    model = open_model(learned[1]).model
    text, (gender, emotion) = 2, [ids[0] for ids in model.tokenizer.task_ids if ids]
    if model.tokenizer.tasks[0].kind == "text":
        assert model.well_formed([text] * 9, 8)[0] == [text] * 5  # two labels and the end have to follow
        assert model.well_formed([text, emotion, gender], 8)[0] == [text]
    else:  # gender asr emotion
        assert model.well_formed([gender, *[text] * 9], 8)[0] == [gender, *[text] * 5]
        assert model.well_formed([text, gender, emotion], 8)[0] == []
    assert model.well_formed([gender, gender], 8)[0] == [gender]


def convert_main(exp_dir, data_dir, out_dir, *more):
    call(export_ctranslate2, "--export_dir", exp_dir, "--data_dir", data_dir, "--out_dir", out_dir, *more)


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_the_check_says_what_is_equal_and_how_fast_both_are(learned, data_dir, tmp_path, capsys, quantization):
    exp_dir, _ = learned
    convert_main(exp_dir, data_dir, tmp_path / "out", "--quantization", quantization)
    check = json.loads((tmp_path / "out/check.json").read_text())
    assert check["num_utterances"] == 6 and check["quantization"] == quantization
    assert set(check["utterances_per_second"]) == {"whisper_er", "CTranslate2"}
    assert check["different"] == {"asr": [], "gender": [], "emotion": []} and check["completed"] == 0
    read_me = (tmp_path / "out/README.md").read_text()
    assert re.search(r"\| emotion +\| +6 \| +6 \|", read_me) and "| CTranslate2 |" in read_me
    assert str(tmp_path) not in read_me + (tmp_path / "out/check.json").read_text()
    assert re.search(r"\| emotion +\| +6 \| +6 \|", capsys.readouterr().out)


def test_the_model_compared_with_is_not_the_one_that_quantising_writes_over(learned, data_dir, tmp_path, monkeypatch):
    trained = load_file(learned[0] / "ave.safetensors")

    def compare_once_seen(ours, *rest):
        assert {name: tensor.tolist() for name, tensor in ours.model.state_dict().items()} == {
            name: tensor.tolist() for name, tensor in trained.items()
        }
        return compare(ours, *rest)

    monkeypatch.setattr(ctranslate2_check, "compare", compare_once_seen)
    convert_main(learned[0], data_dir, tmp_path / "out", "--quantization", "int8")


def test_other_labels_are_an_error_and_leave_nothing_unless_they_are_allowed(learned, data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(ctranslate2_check, "same", lambda task, one, two: one.utt_id != "u1-1" or task.name != "gender")
    with pytest.raises(UserError, match=r"other answers than the model for 1 of 6 utterances \(u1-1\), allowed are 0"):
        convert_main(learned[0], data_dir, tmp_path / "out")
    assert not list(tmp_path.iterdir())
    convert_main(learned[0], data_dir, tmp_path / "out", "--allow_different", "1")
    assert (tmp_path / "out/model.bin").is_file()


def test_another_transcript_is_counted_and_no_error(learned, utterances, monkeypatch):
    monkeypatch.setattr(ctranslate2_check, "same", lambda task, one, two: task.name != "asr")
    ours, theirs = map(Recognizer.open, learned)
    check = compare(ours, theirs, [batch_of(utterances, ours.tokenizer)], BEST, "float32")
    assert check.different == {"asr": ["u0", "u1", "u2"], "gender": [], "emotion": []}
    ctranslate2_check.require_equal(check, ours.tokenizer.tasks, 0)


def test_a_model_of_text_alone_has_to_give_the_same_text():
    check = Check("float32", "float32", {}, 1, {"asr": ["u1"]}, num_utterances=2)
    with pytest.raises(UserError, match="other answers than the model for 1 of 2"):
        ctranslate2_check.require_equal(check, [Task("asr", "text")], 0)


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_the_advice_is_one_that_can_be_followed_and_names_the_options_of_both_callers(quantization):
    check = Check(quantization, "float32", {}, 1, {"asr": ["u1"]}, num_utterances=2)
    with pytest.raises(UserError, match=r"--allow_different \(of run.sh: --ctranslate2_allow_different\)") as error:
        ctranslate2_check.require_equal(check, [Task("asr", "text")], 0)
    assert ("--quantization float32 (of run.sh: --ctranslate2 float32)" in str(error.value)) == (quantization == "int8")


def test_expectations_on_a_scale_may_differ_by_a_hundredth_of_it():
    task = scale("valence", 1, 5, 9)
    one, two, three = (Prediction("u", {"valence": value}, {}) for value in ("3.0000", "3.0390", "3.0410"))
    assert same(task, one, two) and not same(task, one, three)


def test_both_models_are_what_recognition_asks_for_and_only_ours_can_be_trained(learned):
    asked = {name for name in (*vars(Predictor), *Predictor.__annotations__) if not name.startswith("_")}
    assert {"predict", "tokenizer", "to", "family", "max_target"} <= asked
    ours, theirs = (open_model(directory).model for directory in learned)
    assert all(hasattr(model, name) for model in (ours, theirs) for name in asked)
    assert (ours.family, theirs.family) == ("whisper", "CTranslate2")
    assert hasattr(ours, "forward") and not hasattr(theirs, "forward")


def test_a_converted_model_refuses_what_ctranslate2_cannot_do(learned, utterances):
    opened = open_model(learned[1])
    batch = batch_of(utterances, opened.tokenizer)
    with pytest.raises(UserError, match="search=other: a CTranslate2 model has a beam search of its own"):
        opened.model.predict(batch, DecodeConfig(search="other"))
    with pytest.raises(UserError, match="suppress=whisper: a CTranslate2 model suppresses nothing"):
        opened.model.predict(batch, DecodeConfig(suppress="whisper"))
    with pytest.raises(UserError, match="grammar=free: a CTranslate2 model gives every label; set grammar=strict"):
        opened.model.predict(batch, DecodeConfig(grammar="free"))
    with pytest.raises(UserError, match="decide=marginal: a CTranslate2 model has no posterior over its beam"):
        opened.model.predict(batch, DecodeConfig(decide="marginal"))
    with pytest.raises(UserError, match="lang=auto: a CTranslate2 model does not find out the language; name it"):
        opened.model.predict(batch, DecodeConfig(lang="auto"))
    with pytest.raises(UserError, match="teacher_forced: a CTranslate2 model reads no references"):
        opened.model.predict(batch, DecodeConfig(teacher_forced=True))
    with pytest.raises(UserError, match="dtype=bfloat16: a CTranslate2 model computes in what it was converted to"):
        opened.model.predict(batch, DecodeConfig(dtype="bfloat16"))
    with pytest.raises(UserError, match="context: a CTranslate2 model reads no turns before an utterance"):
        opened.model.predict(replace(batch, context_B=batch.samples_B), DecodeConfig())


def test_recordings_are_recognised_with_it_as_with_the_model_it_comes_from(learned, utterances):
    paths = [utterance.audio for utterance in utterances]
    ours, theirs = (Recognizer.from_pretrained(directory)(paths) for directory in learned)
    assert [(found.text, found.labels) for found in ours] == [(found.text, found.labels) for found in theirs]


def test_info_says_what_both_are(learned, capsys):
    said = []
    for directory in learned:
        call(info, directory)
        said.append(capsys.readouterr().out.splitlines())
    assert said[0][0].split() == ["model", "seq2seq", "on", "whisper"]
    assert said[1][0].split() == ["model", "seq2seq", "on", "CTranslate2"]
    assert said[0][1].startswith("parameters  ")
    assert said[0].pop(-2).split(maxsplit=1) == ["weights", "trained from scratch"]
    assert said[0][2:-1] == said[1][1:-1]  # input, language, tasks
    assert any(line.split() == ["emotion", "(category)", "angry", "happy", "sad"] for line in said[1])


def test_without_ctranslate2_the_extra_is_named(learned, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    for use in (lambda: open_model(learned[1]), lambda: convert(learned[0], tmp_path / "out", "float32")):
        with pytest.raises(UserError, match=r"^CTranslate2 is not installed; pip install 'whisper_er\[export\]'$"):
            use()


def test_a_converted_model_is_not_converted_again(learned, tmp_path):
    with pytest.raises(UserError, match="CTranslate2 models are made of Whisper-ER ones"):
        convert(learned[1], tmp_path / "out", "float32")


def test_what_is_no_model_of_ctranslate2_is_one_line(learned, tmp_path):
    _, directory = learned
    for name in ("whisper_er.json", "token_list", "vocabulary.json", "config.json"):
        (tmp_path / name).symlink_to(directory / name)
    with pytest.raises(UserError, match="model.bin: no such file; convert the model again"):
        open_model(tmp_path)
    (tmp_path / "model.bin").write_bytes(b"\0" * 64)
    with pytest.raises(UserError, match="CTranslate2 cannot read it"):
        open_model(tmp_path)
