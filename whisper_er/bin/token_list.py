"""Stage 2: the labels of a training set -> task tokens appended to a vocabulary.

    whisper-er token_list --train_set dump/fold1/train --tasks "asr gender emotion" --token_type bpe \\
        --bpe_size 100 --out_dir data/token_list/bpe100_en_asr_gender_emotion/fold1

Only the training set enters the vocabulary; --check_sets are looked at for labels that it lacks: an error, but for
--open_tasks, where they are counted.
"""

import argparse
import re
from dataclasses import replace
from pathlib import Path

from whisper_er.base.errors import UserError
from whisper_er.base.files import holding, replace_dir
from whisper_er.bin import add_folds_argument, make_parser, of_each_fold, run
from whisper_er.data import kaldi
from whisper_er.data.labels import LANGUAGE, check_languages, checked_labels
from whisper_er.task import TEXT_TASK, Task, category, check_classes, scale
from whisper_er.text.token_list import LIST_FILE
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.vocabulary import NoText, train_sentencepiece

FRACTION = re.compile(r"[+-]?\d*[.]\d+")


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--train_set", type=Path, required=True, help="data directory")
    parser.add_argument("--tasks", required=True, help='in the order of the target, such as "asr gender emotion"')
    parser.add_argument("--token_type", choices=["whisper", "bpe", "none"], required=True)
    parser.add_argument("--whisper_model", default="", help="hub name or directory, for token_type=whisper")
    parser.add_argument("--bpe_size", type=int, default=100, help="pieces, for token_type=bpe")
    parser.add_argument("--lang", default="en", help="language of the transcripts, as in Whisper's <|en|>")
    parser.add_argument("--scales", default="", help='tasks on a scale, "name=low:high:bins ..."')
    parser.add_argument("--open_tasks", default="", help="tasks of which a label that training lacks counts as none")
    parser.add_argument("--check_sets", type=Path, nargs="*", default=[], help="sets whose labels must be in the list")
    parser.add_argument("--out_dir", type=Path, required=True)
    add_folds_argument(parser)
    for args in of_each_fold(parser.parse_args()):
        make_token_list(args)


def make_token_list(args: argparse.Namespace) -> None:
    names = args.tasks.split()
    if not names or len(set(names)) < len(names):
        raise UserError(f"tasks '{args.tasks}': name at least one task, and each once")
    data = kaldi.read_dir(args.train_set)
    kaldi.validate(args.train_set, data, names)
    scales = parse_scales(args.scales, names)
    tasks = [scales.get(name) or make_task(name, args.train_set, data) for name in names]
    check_classes(tasks)
    tasks = open_tasks(tasks, args.open_tasks.split())
    with replace_dir(args.out_dir, holding(LIST_FILE)) as directory:
        if args.token_type == "bpe":
            texts = [text for text in data.get("text", {}).values() if text]
            if not texts:
                raise UserError(
                    f"{args.train_set}/text: no transcript to learn from; use token_type=whisper, "
                    "or none, which predicts no text"
                )
            base = train_sentencepiece(texts, args.bpe_size)
        elif args.token_type == "none":
            base = NoText()
            if TEXT_TASK in names:
                base.encode("")
        elif not args.whisper_model:
            raise UserError("token_type=whisper needs whisper_model, a hub name or directory")
        else:
            from whisper_er.text.whisper_vocabulary import from_whisper  # here: it brings transformers

            base = from_whisper(args.whisper_model, args.lang)
        tokenizer = Tokenizer(base, tasks, args.token_type, args.lang)
        for check_set in args.check_sets:
            utt_ids, columns = kaldi.read_columns(check_set, [LANGUAGE, *(task.table for task in tasks)], names)
            if LANGUAGE in columns:
                check_languages(check_set / LANGUAGE, columns[LANGUAGE], tokenizer)
            for task in tasks:
                try:
                    checked_labels(check_set, utt_ids, columns[task.table], task)
                except UserError as error:
                    raise UserError(f"{error}{remedy(task, args.train_set)}") from None
        tokenizer.save(directory)
    for task, ids in zip(tasks, tokenizer.task_ids):
        print(f"{task.name} ({task.kind}): {' '.join(f'{t}={i}' for t, i in zip(task.tokens, ids)) or 'text'}")
    print(f"{args.out_dir / LIST_FILE}: {tokenizer.size} tokens, {tokenizer.size - base.size} of them added")


def make_task(name: str, train_set: Path, data: kaldi.DataDir) -> Task:
    if name == TEXT_TASK:
        if not any(data["text"].values()):
            raise UserError(f"{train_set}/text: no training utterance has a transcript; leave {name} out of --tasks")
        return Task(name, "text")
    task = category(name, data[kaldi.label_table(train_set, f"utt2{name}")].values())
    if fractions := [label for label in task.labels if FRACTION.fullmatch(label)]:
        raise UserError(
            f"utt2{name}: its labels are numbers such as {fractions[0]}: say in how many bins they are "
            f"predicted, --scales {name}=low:high:bins (valence=1:5:9), or give categories names"
        )
    return task


def open_tasks(tasks: list[Task], names: list[str]) -> list[Task]:
    """The tasks, those of these names open."""
    categories = [task.name for task in tasks if task.kind == "category"]
    for name in names:
        if name not in categories:
            allowed = " ".join(categories) or "none, there is no category"
            raise UserError(f"open_tasks '{name}': not a category among the tasks; allowed: {allowed}")
    return [replace(task, open=task.name in names) for task in tasks]


def remedy(task: Task, train_set: Path) -> str:
    if task.kind != "category":
        return "; the labels of a scale are numbers, and --scales has to span them"
    return (
        f" (the labels of {train_set}); no model predicts a label that it was not trained on: change the folds or "
        "the labels. To tell known speakers apart, train, valid and test need the same speakers "
        f"(--allow_shared_speakers true); --open_tasks {task.name} counts such labels as none"
    )


def parse_scales(text: str, names: list[str]) -> dict[str, Task]:
    """Read "valence=1:5:9 ..."."""
    scales = {}
    for item in text.split():
        name, _, numbers = item.partition("=")
        try:
            low, high, bins = numbers.split(":")
            scales[name] = scale(name, float(low), float(high), int(bins))
        except ValueError as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"scales '{item}': expected name=low:high:bins, such as valence=1:5:9") from None
        if name not in names:
            raise UserError(f"scales '{item}': '{name}' is not among the tasks {' '.join(names)}")
    return scales


if __name__ == "__main__":
    run(main)
