"""README.md of an exported model: what it is, how to use it, its figures, and what it was trained on and for."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from whisper_er.config import TrainConfig
from whisper_er.export.data_card import DataCard
from whisper_er.export.plain_snippet import plain_snippet
from whisper_er.models.features import PadRule
from whisper_er.recognize.pretrained import Pretrained
from whisper_er.report.markdown import bullets, interval_table, summary_table, table
from whisper_er.report.rows import columns_of, level_percent, notes, protocol_lines, unscaled
from whisper_er.score.results import RESULT, SetResult, collect
from whisper_er.task import Task
from whisper_er.text.tokenizer import Tokenizer

NOT_STATED = "not stated by whoever exported this model"
USE = "Research on speech emotion: to compare methods, to annotate corpora whose annotation is checked by people."
NOT_FOR = (
    "Not for decisions about people. What it names is how a recording sounds by the labels of its training corpus, not "
    "what somebody feels. (A hint, no legal advice: the EU's AI Act, Art. 5(1)(f), prohibits systems that infer "
    "emotions at work and in education, but for medical and safety reasons, and Annex III lists emotion recognition as "
    "high-risk.)"
)
LIMITS = "Other languages, microphones, ages and ways to express emotion than those of the corpus: expect less."
GRAMMAR = (
    "`generate` knows no grammar: it may leave out a label, or say one twice, where the model has not learnt its "
    "targets well. Recognizer's search cannot. Where what `generate` writes is well-formed, both mostly find the same."
)
PIPELINE = "transformers' `pipeline` drops the labels, and pads everything to 30 s."


def read_results(exp_dir: Path, weights: Path) -> list[SetResult]:
    """The scores of every way of decoding and every test set that lie in an experiment, as far as they are those of
    these weights: what others gave, or these before they were made anew, is named and left out."""
    weights = weights.resolve()
    results = []
    for path in sorted(exp_dir.glob(f"decode_*/*/{RESULT}")):
        own = collect(exp_dir, (), path.parents[1].name, path.parents[2].name.removeprefix("decode_"))
        models = {fold.result.about["decoding"].get("model") for result in own for fold in result.folds.values()}
        if models != {weights.name} or path.stat().st_mtime < weights.stat().st_mtime:
            print(f"{path}: not of {weights.name} as it is now: left out of the card; stages 5 and 6 score it")
        else:
            results += own
    return results


def model_card(name: str, opened: Pretrained, card: DataCard, results: Sequence[SetResult], base: str) -> str:
    """name: of the model; base: the model that training started from, "" for none."""
    header = yaml.safe_dump(metadata(name, opened.tokenizer, card, results), sort_keys=False, allow_unicode=True)
    sections = [
        f"# {name}",
        what_it_is(opened, base),
        "## Use",
        use(opened),
        "## Figures",
        "\n\n".join(map(figures, results)) or "None: it was exported before it was scored.",
        "## Training data, intended use and limits",
        about_data(card),
    ]
    return f"---\n{header}---\n\n" + "\n\n".join(sections) + "\n"


def metadata(name: str, tokenizer: Tokenizer, card: DataCard, results: Sequence[SetResult]) -> dict:
    """What the hub reads."""
    values = {
        "library_name": "transformers",
        "license": "other",
        "pipeline_tag": "audio-classification",
        "language": [tokenizer.language],
        "tags": ["whisper", "speech-emotion-recognition", "whisper_er", *(task.name for task in tokenizer.tasks)],
    }
    measured = [index for result in results for index in model_index(result, card)]
    return values | ({"model-index": [{"name": name, "results": measured}]} if measured else {})


def model_index(result: SetResult, card: DataCard) -> list[dict]:
    corpus = card.corpus or "unknown"
    data = {
        "name": corpus,
        "type": "".join(c if c.isalnum() else "-" for c in corpus.lower()),
        "split": result.name.rpartition("/")[2],
    }
    entries = []
    for task, scores in result.pooled.tasks.items():
        metrics = [
            {"type": figure.hub[0], "name": f"{task} {figure.hub[1]}", "value": round(scores.values[name], 4)}
            for name, figure in scores.catalogue().items()
            if figure.hub and scores.values[name] is not None
        ]
        kind = "automatic-speech-recognition" if scores.task.kind == "text" else "audio-classification"
        if metrics:
            entries.append({"task": {"type": kind, "name": task}, "dataset": dict(data), "metrics": metrics})
    return entries


def what_it_is(opened: Pretrained, base: str) -> str:
    tokenizer, pad = opened.tokenizer, opened.config.model.pad
    rows = [["task", "kind", "says"], *([task.name, task.kind, labels_of(task)] for task in tokenizer.tasks)]
    tokens = " ".join(f"`{token}`" for task in tokenizer.tasks for token in task.tokens)
    start = history(opened.config, base)
    silence = {"none": "no silence is added to an utterance", "30s": "every utterance is filled up to 30 s"}.get(
        pad, f"silence is added to an utterance by the rule `{pad}`"
    )
    return (
        f"A Whisper encoder-decoder, {start}, whose decoder writes these tasks in this order (Whisper-ER, made with "
        f"whisper_er):\n\n{table(rows)}\n\nTokens of labels: {tokens}. Input: 16 kHz, one channel, at most 30 s; "
        f"{silence}. Prefix of the decoder: {tokenizer.prefix}."
    )


def history(config: TrainConfig, base: str) -> str:
    """What happened to the weights before they were exported."""
    if config.max_steps == 0:
        return f"as it is in `{base}`, with new tokens and not trained" if base else "not trained"
    if not base:
        return "trained from scratch"
    decoder = ", the decoder trained from scratch" if config.model.decoder_init == "random" else ""
    return f"fine-tuned from `{base}`{decoder}"


def labels_of(task: Task) -> str:
    return "the transcript" if task.kind == "text" else ", ".join(task.labels)


def use(opened: Pretrained) -> str:
    tokenizer = opened.tokenizer
    ours = 'from whisper_er import Recognizer\n\nprint(Recognizer.from_pretrained(".")("a.wav"))\n'
    lines = [GRAMMAR, PIPELINE]
    if any(task.kind == "scale" for task in tokenizer.tasks):
        lines.append("Of a scale, the token names the likeliest bin; Recognizer gives the expectation over the bins.")
    if opened.config.model.pad != "30s":
        lines.append("One file at a time: transformers' encoder has no mask, and this one was not trained on 30 s.")
    return (
        f"With whisper_er, in this directory (its path, or its name on the hub, for the dot elsewhere):\n\n"
        f"```python\n{ours}```\n\nWith transformers 5 and soundfile alone:\n\n```python\n"
        f"{plain_snippet(tokenizer, PadRule.parse(opened.config.model.pad))}```\n\n{bullets(lines)}"
    )


def figures(result: SetResult) -> str:
    as_it_is = any(column.scale == 1 for column in columns_of(result.pooled.tasks))
    scale = f"In percent; {unscaled('scale', 'category')} as they are." if as_it_is else "In percent."
    parts = [f"### {result.name}", summary_table(result), scale]
    if intervals := interval_table(result):
        parts += [f"{level_percent()} bootstrap intervals:", intervals]
    return "\n\n".join([*parts, bullets([*protocol_lines(result), *notes(result)])])


def about_data(card: DataCard) -> str:
    corpus = " ".join(filter(None, [card.corpus, card.url and f"<{card.url}>"])) or NOT_STATED
    return bullets(
        [
            f"Corpus: {corpus}",
            f"Licence of the data: {card.licence or NOT_STATED}",
            "Licence of the weights: not stated; it is bound by the data's, and by that of the model it started from",
            f"Intended use: {card.intended_use or USE}",
            NOT_FOR,
            f"Limits: {card.limits or LIMITS}",
        ]
    )
