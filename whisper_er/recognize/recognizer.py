"""The Recognizer: audio in, result out. Decoding, the command line and the demo call it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import overload

import numpy as np
import torch

from whisper_er.base import settings
from whisper_er.base.errors import UserError
from whisper_er.base.hub import model_directory
from whisper_er.batch import Batch
from whisper_er.config import SAMPLE_RATE, DecodeConfig, TrainConfig
from whisper_er.data.collate import unlabelled
from whisper_er.data.plan import by_length, by_seconds
from whisper_er.models.base import Predictor
from whisper_er.models.features import HOP, PadRule
from whisper_er.process.device import autocast, find_device
from whisper_er.recognize.pretrained import open_model
from whisper_er.recognize.prior_correction import DrawnLabels, with_correction
from whisper_er.recognize.recordings import LONGEST, Recording, Split, open_recording
from whisper_er.recognize.result import Recognition, Segment, combine
from whisper_er.recognize.times import Times, with_times
from whisper_er.score.temperature import tempered
from whisper_er.task import Prediction
from whisper_er.train.experiment import trained_label_counts

Audio = str | Path | np.ndarray
Several = list[Audio] | list[str] | list[Path] | list[np.ndarray] | tuple[Audio, ...]  # a list's type is its own
LEAST_SECONDS = 2  # that an utterance counts for in batch_seconds: its hypotheses take memory as 2.5 s of audio do
WINDOW = 4  # batches: so many utterances are read ahead and sorted by length


class Recognizer:
    """A trained model, with the settings that it is decoded by.

    recognizer = Recognizer.from_pretrained("exp/mini/fold1")
    result = recognizer("talk.wav")
    result.text, result.emotion, result.probabilities["emotion"]["happy"]
    """

    def __init__(
        self,
        model: Predictor,
        config: TrainConfig,
        device: torch.device,
        decoding: DecodeConfig | None = None,
        temperatures: Mapping[str, float] | None = None,
        label_counts: Callable[[], DrawnLabels] = dict,
    ) -> None:
        self.model, self.tokenizer, self.config, self.device = model.to(device), model.tokenizer, config, device
        self.decoding, self.temperatures = decoding or DecodeConfig(), temperatures or {}
        self.label_counts = label_counts  # of the training; read where they are needed
        self.times = Times()

    @staticmethod
    def from_pretrained(
        model: str | Path,
        device: str | torch.device = "cpu",
        dtype: str = "float32",
        beam_size: int = 4,
        batch_size: int = 8,
        maxlenratio: float = DecodeConfig.maxlenratio,
        no_repeat_ngram_size: int = DecodeConfig.no_repeat_ngram_size,
        language: str = "",
        decide: str = DecodeConfig.decide,
        calibrate: bool = DecodeConfig.calibrate,
        prior_correction: float = DecodeConfig.prior_correction,
        times: Times | None = None,
    ) -> "Recognizer":
        """Open an experiment directory, what stage 7 exported from one, or such an export on the Hugging Face hub.

        device: "cpu", "cuda", "cuda:1"; dtype: "float32" or "bfloat16" (of matrix products; the weights are float32);
        batch_size: utterances decoded together, at most; maxlenratio, no_repeat_ngram_size, decide, calibrate,
        prior_correction: as in DecodeConfig;
        language: of the speech, such as "de"; "auto": of each utterance the likeliest; "": that of the training.
        times: whether the words' times and the emotion over time are found as well.
        UserError for any of these that cannot be used.
        """
        values = {
            "dtype": dtype, "beam_size": beam_size, "batch_size": batch_size, "num_workers": 0,
            "maxlenratio": maxlenratio, "no_repeat_ngram_size": no_repeat_ngram_size, "lang": language,
            "decide": decide, "calibrate": calibrate, "prior_correction": prior_correction,
        }  # fmt: skip
        decoding = settings.build(DecodeConfig, values, "from_pretrained")
        recognizer = Recognizer.open(model_directory(str(model)), device=find_device(str(device)))
        recognizer.decoding = decoding
        recognizer.model.check(decoding)
        recognizer.times = times or Times()
        recognizer.times.check(recognizer.model)
        return recognizer

    @staticmethod
    def open(exp_dir: Path, weights: str = "ave.safetensors", device: torch.device | str = "cpu") -> "Recognizer":
        """Read an experiment directory, or a model that stage 7 exported (weights: of an experiment)."""
        opened = open_model(exp_dir, weights)
        counts = partial(trained_label_counts, Path(exp_dir))
        return Recognizer(opened.model, opened.config, torch.device(device), None, opened.temperatures, counts)

    @overload
    def __call__(
        self, audio: Audio, sampling_rate: int | None = None, split: Split = "auto", longest: float = LONGEST
    ) -> Recognition: ...

    @overload
    def __call__(
        self, audio: Several, sampling_rate: int | None = None, split: Split = "auto", longest: float = LONGEST
    ) -> list[Recognition]: ...

    def __call__(
        self,
        audio: Audio | Several,
        sampling_rate: int | None = None,
        split: Split = "auto",
        longest: float = LONGEST,
    ) -> Recognition | list[Recognition]:
        """Recognise one recording or a list of them; a list of results for a list.

        audio: a file of any format that libsndfile reads, rate and number of channels; or samples at `sampling_rate`
            Hz, floats in [-1, 1] or int16, (samples,) or (samples, channels).
        split: "auto": a recording over 30 s is split at its pauses, a shorter one is one utterance, as a file is in a
            data directory; "always"; "never". longest: seconds of an utterance of a recording that is split.
        Silence has no segments, text or labels.
        UserError: no audio, an array without its rate, more than 30 s with "never".
        """
        recordings = audio if isinstance(audio, list | tuple) else [audio]
        results = list(self.stream(open_recording(one, sampling_rate, split, longest) for one in recordings))
        return results if recordings is audio else results[0]

    def stream(
        self,
        recordings: Iterable[Recording],
        on_progress: Callable[[float], object] = lambda seconds: None,
        on_error: Callable[[UserError], object] | None = None,
    ) -> Iterator[Recognition]:
        """Recognise recordings in turn; yields each result as soon as its last utterance is recognised.

        on_progress: called with the seconds done since its last call, which add up to those of all recordings.
        on_error: called with the error of a recording that cannot be read, which is then left out; None: it is raised.
        """
        gathering: list[tuple[Recording, list[Segment]]] = []  # recordings that have begun, in order

        def utterances() -> Iterator[tuple[list[Segment], float, float, np.ndarray]]:
            for recording in recordings:
                segments: list[Segment] = []
                gathering.append((recording, segments))
                try:
                    for utterance in recording.utterances():
                        yield segments, *utterance
                except UserError as error:
                    if on_error is None:
                        raise
                    gathering.pop()
                    on_error(error)

        waiting = utterances()
        while window := list(islice(waiting, WINDOW * self.decoding.batch_size)):
            waves = [wave for *_, wave in window]
            predictions = self.recognize(waves)
            found = [self.segment(start, end, one) for (_, start, end, _), one in zip(window, predictions)]
            for (segments, *_), segment in zip(window, with_times(self.times, self, found, waves)):
                on_progress(segment.end - last_end(segments))
                segments.append(segment)
            yield from self.complete(gathering, on_progress)
        yield from self.complete(gathering, on_progress)

    def complete(
        self, gathering: list[tuple[Recording, list[Segment]]], on_progress: Callable[[float], object]
    ) -> Iterator[Recognition]:
        """Take recordings from the front whose utterances are all recognised."""
        while gathering and len(gathering[0][1]) == len(gathering[0][0].spans):
            recording, segments = gathering.pop(0)
            on_progress(recording.seconds - last_end(segments))
            yield combine(recording.name, recording.seconds, segments, self.tokenizer.tasks)

    def recognize(self, waves: Sequence[np.ndarray]) -> list[Prediction]:
        """Predictions for utterances, float32 (samples,) each, 16 kHz mono, at most 30 s; batched by length."""
        if self.decoding.grammar != "strict":
            raise UserError(f"grammar={self.decoding.grammar}: a recognition needs every label; set grammar=strict")
        if self.decoding.teacher_forced:
            raise UserError("teacher_forced: recordings have no references; leave teacher_forced at false")
        plan = by_length(np.array([len(wave) for wave in waves]), self.decoding.batch_size)
        batches = (unlabelled([waves[i] for i in indices], self.tokenizer, self.model.max_target) for indices in plan)
        by_index: dict[int, Prediction] = {}
        for indices, predictions in zip(plan, self.predict(batches, self.decoding)):
            by_index.update(zip(indices, predictions))
        return [by_index[index] for index in range(len(waves))]

    def plan(self, num_samples_N: np.ndarray, config: DecodeConfig) -> list[list[int]]:
        """Batches of utterances of these lengths, as indices, longest first; see DecodeConfig.batch_seconds."""
        if self.device.type == "cpu" or not config.batch_seconds:
            return by_length(num_samples_N, config.batch_size)
        padded_N = PadRule.parse(self.config.model.pad).frames(torch.from_numpy(num_samples_N)).numpy() * HOP
        return by_seconds(padded_N.clip(min=LEAST_SECONDS * SAMPLE_RATE), config.batch_seconds)

    def predict(self, batches: Iterable[Batch], config: DecodeConfig) -> Iterator[list[Prediction]]:
        """Predictions of each batch, in batch order."""
        if config.calibrate and not self.temperatures:
            raise UserError(
                "calibrate: no temperature is fitted for these weights; run whisper-er calibrate on the experiment, "
                "or leave calibrate at false"
            )
        label_counts = self.label_counts() if config.prior_correction else {}
        if config.prior_correction and not label_counts:
            raise UserError(
                f"prior_correction={config.prior_correction:g}: this model has no record of the labels that its "
                "training drew: an exported model has none, an experiment of an older version or of max_steps=0, or "
                "one without a category; train it again under another ser_tag, or leave prior_correction at 0"
            )
        if config.dtype == "float32":
            self.model.pack()
        for batch in batches:
            with autocast(self.device, config.dtype):
                predictions = self.model.predict(batch.to(self.device), config)
            if config.calibrate:
                predictions = [self.calibrated(one) for one in predictions]
            if config.prior_correction:
                tasks, tau = self.tokenizer.tasks, config.prior_correction
                predictions = [with_correction(one, tasks, label_counts, tau) for one in predictions]
            yield predictions

    def calibrated(self, prediction: Prediction) -> Prediction:
        """The same with the posteriors by the model's temperatures."""
        own = prediction.posteriors
        changed = {task: tempered(own[task], temperature).tolist() for task, temperature in self.temperatures.items()}
        return replace(prediction, posteriors=own | changed)

    def segment(self, start: float, end: float, prediction: Prediction) -> Segment:
        """The prediction of an utterance from start to end, in seconds."""
        text, labels, scales, probabilities = "", {}, {}, {}
        for task in self.tokenizer.tasks:
            value = prediction.values[task.name]
            if task.kind == "text":
                text = value
                continue
            probabilities[task.name] = dict(zip(task.labels, prediction.posteriors[task.name]))
            if task.kind == "scale":
                scales[task.name] = float(value)
            else:
                labels[task.name] = value
        return Segment(start, end, text, labels, scales, probabilities, prediction.warnings)


def last_end(segments: Sequence[Segment]) -> float:
    return segments[-1].end if segments else 0.0
