"""Zero-shot transcripts: what a pretrained Whisper, as it is, writes of every utterance of a dump directory.

A run that was stopped goes on: until the table is whole, what is done lies beside it, in the directory <out>.parts.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from whisper_er.base import files
from whisper_er.base.errors import UserError, first_few
from whisper_er.base.plain_files import parse_json, parse_json_lines, read_plain
from whisper_er.config import DecodeConfig, ModelConfig, TrainConfig
from whisper_er.data import kaldi
from whisper_er.data.batches import load
from whisper_er.data.labels import LANGUAGE
from whisper_er.data.plan import by_length
from whisper_er.data.utterances import Utterances
from whisper_er.models.build import build_model
from whisper_er.models.seq2seq import CUT
from whisper_er.process.device import reading_processes
from whisper_er.process.progress import progress_bar
from whisper_er.recognize.recognizer import Recognizer
from whisper_er.task import TEXT_TASK, Prediction, Task
from whisper_er.text.repetition import REPEATS
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.vocabulary import DETECT
from whisper_er.text.whisper_vocabulary import from_whisper

MADE_WITH, DONE = "made_with.json", "transcripts.jsonl"  # of <out>.parts
AGAIN = "the transcript repeated itself, and was written again without that"
EMPTY = "the transcript is empty"
ROOM = 16  # tokens of the decoder's positions that a transcript leaves to the labels of a later training
TOO_LONG = f"the transcript has no end, or leaves no room for {ROOM} more tokens, and was left empty"


@dataclass(frozen=True)
class Transcript:
    """warnings: what is doubtful about the text."""

    utt_id: str
    text: str
    warnings: list[str]


def open_whisper(whisper_model: str, language: str, device: torch.device | str = "cpu") -> Recognizer:
    """A pretrained Whisper with asr as its only task, on inputs of 30 s, which are all that it was trained on.

    whisper_model: hub name or directory; language: code, or "auto". UserError where it has no such language.
    """
    code = "en" if language == DETECT else language
    text = from_whisper(whisper_model, code)
    if not text.multilingual and language != "en":
        raise UserError(f"--lang {language}: {whisper_model} knows English alone; give en, or a multilingual Whisper")
    model = ModelConfig(whisper_model=whisper_model, pad="30s", long_audio="truncate")
    config = TrainConfig(model=model, max_steps=0)
    tokenizer = Tokenizer(text, [Task(TEXT_TASK, "text")], "whisper", code)
    return Recognizer(build_model(config, tokenizer).eval(), config, torch.device(device))


def check_english(data_dir: Path) -> None:
    """UserError for an utterance in another language, which an English-only Whisper would write as English."""
    path = data_dir / LANGUAGE
    others = [f"{utt_id} in {one}" for utt_id, one in kaldi.read_table(path).items() if one not in ("", "en")]
    if others:
        raise UserError(f"{path}: {len(others)} utterances: {first_few(others)}; give a multilingual Whisper")


def write_transcripts(
    recognizer: Recognizer,
    utterances: Utterances,
    config: DecodeConfig,
    no_repeat_ngram_size: int,
    out: Path,
    made_with: dict[str, Any],
) -> list[Transcript]:
    """Write the table `out`, whole or not at all, and return its lines, by id.

    no_repeat_ngram_size: with which a transcript that repeats itself is written again; 0: it stays as it is.
    made_with: plain values that the transcripts depend on; what a stopped run with others has done is dropped.
    """
    directory = out.with_name(f"{out.name}.parts")
    if out.is_dir():
        raise UserError(f"{out}: is a directory; name the table to write, such as {out / 'text'}")
    directory.mkdir(parents=True, exist_ok=True)
    with files.locked(directory):
        done = read_done(directory, made_with)
        left = [index for index, utt_id in enumerate(utterances.utt_ids) if utt_id not in done]
        if done:
            print(f"{directory}: {len(done)} of {len(utterances)} utterances were transcribed before", flush=True)
        with (
            open(directory / DONE, "a", encoding="utf-8") as file,
            progress_bar(len(utterances), "utt", initial=len(done)) as bar,
        ):
            for transcripts in transcribe(recognizer, utterances, left, config, no_repeat_ngram_size):
                file.writelines(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in transcripts)
                file.flush()
                done |= {one.utt_id: one for one in transcripts}
                bar.update(len(transcripts))
        kaldi.write_table(directory / out.name, {utt_id: one.text for utt_id, one in done.items()})
        files.replace(directory / out.name, out)
        shutil.rmtree(directory)
    return [done[utt_id] for utt_id in sorted(done)]


def read_done(directory: Path, made_with: dict[str, Any]) -> dict[str, Transcript]:
    """What a stopped run with the same values has done; the files are made ready for more."""
    about, path = directory / MADE_WITH, directory / DONE
    remedy = f"remove {directory}"
    if not about.is_file() or read_plain(parse_json, about, {}, "what transcribing writes", remedy) != made_with:
        path.unlink(missing_ok=True)
        files.write_text(about, json.dumps(made_with, indent=1) + "\n")
    if not path.is_file():
        return {}
    content = path.read_bytes()
    path.write_bytes(content[: content.rfind(b"\n") + 1])  # a kill may have struck within a line
    shape = [{"utt_id": str, "text": str, "warnings": [str]}]
    lines = read_plain(parse_json_lines, path, shape, "what transcribing writes", remedy)
    return {line["utt_id"]: Transcript(**line) for line in lines}


def transcribe(
    recognizer: Recognizer,
    utterances: Utterances,
    indices: list[int],
    config: DecodeConfig,
    no_repeat_ngram_size: int,
) -> Iterator[list[Transcript]]:
    """The transcripts of the utterances at these indices, in batches of similar length, the longest first."""
    plan = [
        [indices[place] for place in places]
        for places in by_length(utterances.num_samples_N[indices], config.batch_size)
    ]
    processes = reading_processes(config.num_workers, recognizer.device)
    tokenizer, longest = recognizer.tokenizer, recognizer.model.max_target
    for batch in load(utterances, plan, tokenizer, longest, processes, recognizer.device):
        (found,) = recognizer.predict([batch], config)
        again = dict.fromkeys(one.utt_id for one in found if REPEATS in one.warnings) if no_repeat_ngram_size else {}
        if again:
            (found_again,) = recognizer.predict([batch], replace(config, no_repeat_ngram_size=no_repeat_ngram_size))
            found = [new if new.utt_id in again else old for old, new in zip(found, found_again)]
        yield [to_transcript(one, [AGAIN] if one.utt_id in again else [], tokenizer, longest) for one in found]


def to_transcript(found: Prediction, warnings: list[str], tokenizer: Tokenizer, longest: int) -> Transcript:
    """The text, or none, which counts as unlabelled, where training could not take it. longest: decoder positions."""
    text, warnings = found.values[TEXT_TASK], [one for one in found.warnings if one != CUT] + warnings
    if CUT in found.warnings or len(tokenizer.prefix) + len(tokenizer.text.encode(text)) + ROOM > longest:
        return Transcript(found.utt_id, "", [*warnings, TOO_LONG])
    return Transcript(found.utt_id, text, [*warnings, *([] if text else [EMPTY])])


def doubts(transcripts: list[Transcript]) -> Iterator[str]:
    """A line for each warning: how many utterances have it, and which."""
    for warning in sorted({warning for one in transcripts for warning in one.warnings}):
        named = [one.utt_id for one in transcripts if warning in one.warnings]
        what = warning.partition(":")[0]  # what follows are remedies of stage 5
        yield f"warning: {len(named)} of {len(transcripts)} utterances: {what}: {first_few(named)}"
