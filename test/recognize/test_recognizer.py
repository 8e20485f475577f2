"""Recordings in, results out: what Python users call."""

import json

import numpy as np
import pytest
import soundfile
from tiny_experiment import call, change, decode_arguments, token_list_arguments, train_and_average, write_corpus

from whisper_er import Recognizer
from whisper_er.base.errors import UserError
from whisper_er.bin import decode, token_list
from whisper_er.config import DecodeConfig
from whisper_er.data import kaldi
from whisper_er.recognize.recordings import open_recording
from whisper_er.recognize.result import Recognition, Segment, combine
from whisper_er.task import Task, category, scale


@pytest.fixture(scope="module")
def recognizer(trained) -> Recognizer:
    return Recognizer.from_pretrained(trained / "exp", beam_size=2)


@pytest.fixture(scope="module")
def files(trained) -> dict[str, str]:
    return kaldi.read_table(trained / "test" / "wav.scp")


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * 16000)).astype(np.float32)


def test_a_file_gives_what_decoding_gives_for_it(trained, recognizer, files, tmp_path):
    call(decode, *decode_arguments(trained, trained / "exp", tmp_path / "hyp"))
    found = kaldi.read_dir(tmp_path / "hyp")
    lines = map(json.loads, (tmp_path / "hyp" / "posteriors.jsonl").read_text().splitlines())
    posteriors = {line["utt_id"]: line for line in lines}
    for utt_id, path in files.items():
        result = recognizer(path)
        assert result.text == found["text"][utt_id]
        assert result.emotion == found["utt2emotion"][utt_id] and result.labels["gender"] == found["utt2gender"][utt_id]
        for task in ("gender", "emotion"):
            assert result.probabilities[task] == pytest.approx(posteriors[utt_id][task], abs=1e-5)
    assert len({result.probabilities["emotion"]["sad"] for result in map(recognizer, files.values())}) > 1


def test_a_list_gives_the_same_in_its_order(recognizer, files):
    alone = [recognizer(path) for path in files.values()]
    together = recognizer(list(files.values()))
    assert [result.name for result in together] == list(files.values())
    for one, other in zip(alone, together, strict=True):
        assert one.text == other.text and one.labels == other.labels
        assert one.probabilities["emotion"] == pytest.approx(other.probabilities["emotion"], abs=1e-5)
    assert recognizer([]) == []


def test_samples_give_what_their_file_gives(recognizer, files):
    path = next(iter(files.values()))
    samples, rate = soundfile.read(path, dtype="int16")
    from_samples, from_file = recognizer(samples, sampling_rate=rate), recognizer(path)
    assert from_samples.segments == from_file.segments
    assert recognizer([samples, samples], sampling_rate=rate)[1].segments[0].text == from_file.text


def test_a_long_recording_has_segments_with_times_that_give_what_they_give_alone(recognizer, files):
    waves = [soundfile.read(path, dtype="float32")[0] for path in files.values()]
    pause = np.zeros(16000, np.float32)
    long = np.concatenate([part for wave in waves * 12 for part in (wave, pause)])
    result = recognizer(long, sampling_rate=16000)
    assert len(result.segments) == 12 * len(waves) > recognizer.decoding.batch_size
    for segment in result.segments[::7]:
        alone = recognizer(long[round(segment.start * 16000) : round(segment.end * 16000)], 16000)
        assert (alone.text, alone.labels) == (segment.text, segment.labels)
        assert alone.probabilities["emotion"] == pytest.approx(segment.probabilities["emotion"], abs=1e-4)
    assert result.text == " ".join(segment.text for segment in result.segments if segment.text)


def test_silence_has_no_text_and_no_label(recognizer):
    for seconds in (2, 31):
        result = recognizer(np.zeros(seconds * 16000, np.float32), 16000)
        assert (result.segments, result.text, result.emotion, result.probabilities) == ((), "", "", {})
    between = recognizer([np.zeros(31 * 16000, np.float32), noise(0.5)], 16000)
    assert [len(result.segments) for result in between] == [0, 1]


def test_results_come_as_soon_as_a_recording_is_done(recognizer, files):
    opened = []

    def recordings():
        for path in list(files.values()) * 20:
            opened.append(path)
            yield open_recording(path)

    next(recognizer.stream(recordings()))
    assert len(opened) < 20 * len(files)


def test_progress_counts_every_second_of_every_recording(recognizer, files):
    long = np.concatenate([noise(1), np.zeros(40 * 16000), noise(1), np.zeros(32000)]).astype(np.float32)
    waves = [long, long[16000 : 36 * 16000], long[:1999]]
    recordings = [open_recording(wave, 16000) for wave in waves]
    steps: list[float] = []
    assert [len(found.segments) for found in recognizer.stream(recordings, steps.append)] == [2, 0, 1]
    assert sum(steps) == pytest.approx(44 + 35 + 1999 / 16000) and min(steps) >= 0


def segment(seconds: float, probability: float, valence: float) -> Segment:
    label = "happy" if probability > 0.5 else "sad"
    bins = {"1": 1 - (valence - 1) / 4, "5": (valence - 1) / 4}
    return Segment(
        1.0,
        1.0 + seconds,
        label,
        {"emotion": label},
        {"valence": valence},
        {"emotion": {"happy": probability, "sad": 1 - probability}, "valence": bins},
    )


TASKS = [Task("asr", "text"), category("emotion", ["happy", "sad"]), scale("valence", 1, 5, 2)]


def test_a_recording_is_the_mean_over_the_seconds_of_its_segments():
    found = combine("a", 9.0, [segment(3, 0.6, 4.0), segment(1, 0.0, 2.0)], TASKS)
    assert found.probabilities["emotion"] == pytest.approx({"happy": 0.45, "sad": 0.55})
    assert found.emotion == "sad" and found.scales == {"valence": pytest.approx(3.5)}
    assert found.probabilities["valence"] == pytest.approx({"1": 0.375, "5": 0.625})
    assert found.text == "happy sad" and found.duration == 9.0


def test_the_label_of_one_segment_is_the_one_that_was_said():
    said = Segment(0, 1, "", {"emotion": "sad"}, {}, {"emotion": {"happy": 0.51, "sad": 0.49}})
    assert combine("a", 1.0, [said], TASKS).emotion == "sad"


def test_a_model_without_emotion_says_what_it_has():
    found = Recognition("a", 1.0, "", {"gender": "male"}, {}, {"gender": {"male": 1.0}}, (segment(1, 1, 1),))
    with pytest.raises(UserError, match="no task 'emotion'; it has: gender"):
        _ = found.emotion


def test_a_scale_is_a_number(tmp_path):
    root = write_corpus(tmp_path / "corpus")
    for name in ("train", "valid", "test"):
        utt_ids = kaldi.read_table(root / name / "text")
        (root / name / "utt2valence").touch()
        change(root / name, "utt2valence", **{key.replace("-", "_"): str(1 + i % 5) for i, key in enumerate(utt_ids)})
    call(
        token_list,
        *token_list_arguments(
            root, "--tasks", "valence emotion", "--scales", "valence=1:5:3", "--out_dir", root / "scales"
        ),
    )
    exp = train_and_average(root, root / "exp", "--token_list", root / "scales", "max_steps=4")
    result = Recognizer.from_pretrained(exp)(kaldi.read_table(root / "test" / "wav.scp")["test-00"])
    bins = result.probabilities["valence"]
    assert result.scales == {"valence": pytest.approx(sum(float(b) * p for b, p in bins.items()), abs=1e-4)}
    assert result.labels.keys() == {"emotion"} and result.text == ""


def test_the_conventional_method_has_labels_and_no_text(trained, files, tmp_path):
    exp = train_and_average(
        trained,
        tmp_path / "exp",
        "--token_list",
        trained / "label_list",
        "max_steps=4",
        "model.kind=encoder_classifier",
    )
    result = Recognizer.from_pretrained(exp)(next(iter(files.values())))
    assert result.text == "" and result.labels.keys() == {"gender", "emotion"}
    assert result.emotion == max(result.probabilities["emotion"], key=result.probabilities["emotion"].get)


@pytest.mark.parametrize("options, message", [
    ({"device": "cuda:99"}, "device 'cuda:99' cannot be used"), ({"device": "toaster"}, "device 'toaster'"),
    ({"dtype": "float8"}, "dtype: 'float8' is not allowed; allowed: float32 bfloat16"),
    ({"beam_size": 0}, "beam_size"), ({"batch_size": 0}, "batch_size"),
    ({"maxlenratio": -1}, "maxlenratio: -1"), ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size: -1"),
])  # fmt: skip
def test_what_cannot_be_had_is_one_line(trained, options, message):
    with pytest.raises(UserError, match=message):
        Recognizer.from_pretrained(trained / "exp", **options)


def test_a_name_that_is_no_directory_is_asked_of_the_hub(monkeypatch, trained):
    asked = []

    def snapshot_download(name, **how):
        asked.append(name)
        return str(trained / "exp")

    monkeypatch.setattr("whisper_er.base.hub.is_local", lambda name: False)
    monkeypatch.setattr("whisper_er.base.hub.snapshot_download", snapshot_download)
    assert Recognizer.from_pretrained("someone/whisper-er").tokenizer.tasks[0].name == "asr"
    assert asked == ["someone/whisper-er"]


def test_what_is_neither_directory_nor_on_the_hub_is_one_line(monkeypatch):
    monkeypatch.setattr("whisper_er.base.hub.is_local", lambda name: True)
    with pytest.raises(UserError, match="model 'no/such': give an experiment directory"):
        Recognizer.from_pretrained("no/such")


def test_bfloat16_gives_nearly_the_same(trained, recognizer, files):
    low = Recognizer.from_pretrained(trained / "exp", dtype="bfloat16", beam_size=2)
    for path in files.values():
        assert low(path).probabilities["emotion"] == pytest.approx(recognizer(path).probabilities["emotion"], abs=0.05)


def test_a_search_that_may_leave_labels_out_is_refused(recognizer, files):
    free = Recognizer(recognizer.model, recognizer.config, recognizer.device, DecodeConfig(grammar="free"))
    with pytest.raises(UserError, match="grammar=free: a recognition needs every label; set grammar=strict"):
        free(next(iter(files.values())))
