"""README.md of an exported model: what it is, how to use it, its figures, and what it was trained on and for.

model_card.md.j2 has the words; its second piece of Python gives the labels of a file by transformers alone. Run in the
exported directory, it prints the transcript, where there is one, and the tokens of the labels. transformers' encoder
takes 30 s and nothing else: what it takes for 30 s is cut to the frames of the pad rule.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import yaml

from whisper_er.base.templates import render
from whisper_er.config import MAX_SAMPLES, TrainConfig
from whisper_er.export.data_card import DataCard
from whisper_er.export.to_transformers import forced_ids
from whisper_er.models.features import HOP, MAX_FRAMES, PadRule
from whisper_er.recognize.pretrained import Pretrained
from whisper_er.report.markdown import bullets, interval_table, summary_table, table
from whisper_er.report.rows import caveats, columns_of, had_references, level_percent, notes, protocol_lines, unscaled
from whisper_er.score.results import RESULT, SetResult, collect
from whisper_er.task import Task
from whisper_er.text.tokenizer import Tokenizer

TEMPLATE = Path(__file__).parent / "model_card.md.j2"
NOT_STATED = "not stated by whoever exported this model"
SAMPLES_PER_FRAME = 2 * HOP  # of the encoder, whose second convolution halves the frames


def read_results(exp_dir: Path, weights: Path) -> list[SetResult]:
    """The scores of every way of decoding and every test set that lie in an experiment, as far as they are those of
    these weights: what others gave, or these before they were made anew, is named and left out, as is a ceiling."""
    weights = weights.resolve()
    results = []
    for path in sorted(exp_dir.glob(f"decode_*/*/{RESULT}")):
        sets = collect(exp_dir, (), path.parents[1].name, path.parents[2].name.removeprefix("decode_"))
        models = {fold.result.about["decoding"].get("model") for result in sets for fold in result.folds.values()}
        if models != {weights.name} or path.stat().st_mtime < weights.stat().st_mtime:
            print(f"{path}: not of {weights.name} as it is now: left out of the card; stages 5 and 6 score it")
        elif any(had_references(result) for result in sets):
            print(f"{path}: a ceiling, decoded with references: left out of the card")
        else:
            results += sets
    return results


def model_card(
    name: str,
    opened: Pretrained,
    card: DataCard,
    results: Sequence[SetResult],
    base: str,
    languages: Mapping[str, int] | None = None,
) -> str:
    """name: of the model; base: the model that training started from, "" for none; languages: where utt2lang chose the
    prefixes, each with its number of training utterances."""
    languages = languages or {}
    tokenizer, pad = opened.tokenizer, opened.config.model.pad
    tasks = tokenizer.tasks
    return render(
        TEMPLATE,
        any_unscaled,
        bullets,
        caveats,
        interval_table,
        level_percent,
        notes,
        protocol_lines,
        summary_table,
        table,
        unscaled,
        header=yaml.safe_dump(metadata(name, tokenizer, card, results, languages), sort_keys=False, allow_unicode=True),
        name=name,
        history=history(opened.config, base),
        tasks=[["task", "kind", "says"], *([task.name, task.kind, labels_of(task)] for task in tasks)],
        has_pipeline=has_pipeline(tokenizer),
        kinds={task.kind for task in tasks},
        tokens=" ".join(f"`{token}`" for task in tasks for token in task.tokens),
        prefix=tokenizer.prefix,
        language=tokenizer.language,
        languages=languages,
        other_language=next((one for one in languages if one != tokenizer.language), tokenizer.language),
        prefixes=[
            ["language", "training utterances", "forced_decoder_ids"],
            *([one, str(count), f"`{forced_ids(tokenizer.prefix_in(one))}`"] for one, count in languages.items()),
        ],
        text_size=tokenizer.text.size,
        pad=pad,
        context=opened.config.context.turns,
        silence=silence(pad),
        cut_to=frames_of(PadRule.parse(pad)),
        results=results,
        card=card,
        corpus=" ".join(filter(None, [card.corpus, card.url and f"<{card.url}>"])),
        not_stated=NOT_STATED,
    )


def metadata(
    name: str, tokenizer: Tokenizer, card: DataCard, results: Sequence[SetResult], languages: Iterable[str]
) -> dict:
    """What the hub reads."""
    values = hub_header(tokenizer, "transformers", languages)
    measured = [index for result in results for index in model_index(result, card)]
    return values | ({"model-index": [{"name": name, "results": measured}]} if measured else {})


def hub_header(tokenizer: Tokenizer, library: str, languages: Iterable[str] = ()) -> dict:
    """library: what opens the model; languages: without any, that of the token list. The pipeline_tag is what
    transformers can do with it, and absent where it cannot open it: under audio-classification, it would open a
    classifier with random weights."""
    is_asr = library == "transformers" and has_pipeline(tokenizer)
    return {
        "library_name": library,
        "license": "other",
        **({"pipeline_tag": "automatic-speech-recognition"} if is_asr else {}),
        "language": list(languages) or [tokenizer.language],
        "tags": ["whisper", "speech-emotion-recognition", "whisper_er", *(task.name for task in tokenizer.tasks)],
    }


def has_pipeline(tokenizer: Tokenizer) -> bool:
    """Whether transformers' pipeline for speech recognition gives the transcript: it asks for Whisper's tokenizer."""
    return tokenizer.token_type == "whisper" and any(task.kind == "text" for task in tokenizer.tasks)


def model_index(result: SetResult, card: DataCard) -> list[dict]:
    corpus = card.corpus or "unknown"
    data = {
        "name": corpus,
        "type": "".join(c if c.isalnum() else "-" for c in corpus.lower()),
        "split": result.name.rpartition("/")[2],
    }
    by_machine = any(fold.result.about.get("text_sources") for fold in result.folds.values())
    entries = []
    for task, scores in result.pooled.tasks.items():
        if scores.task.kind == "text" and by_machine:
            continue  # the metadata have no place to say that the references are a recogniser's own
        metrics = [
            {"type": figure.hub[0], "name": f"{task} {figure.hub[1]}", "value": round(scores.values[name], 4)}
            for name, figure in scores.catalogue().items()
            if figure.hub and scores.values[name] is not None
        ]
        kind = "automatic-speech-recognition" if scores.task.kind == "text" else "audio-classification"
        if metrics:
            entries.append({"task": {"type": kind, "name": task}, "dataset": dict(data), "metrics": metrics})
    return entries


def history(config: TrainConfig, base: str) -> str:
    """What happened to the weights before they were exported."""
    if config.max_steps == 0:
        return f"as it is in `{base}`, with new tokens and not trained" if base else "not trained"
    frozen = f", {' '.join(f'`{part}`' for part in config.freeze)} frozen" if config.freeze else ""
    if config.lora.r:
        frozen = f" by LoRA of rank {config.lora.r}{frozen}"
    if not base:
        return f"trained from scratch{frozen}"
    parts = {"layers": "the decoder's layers", "all": "the decoder"}
    redrawn = parts.get(config.model.decoder_init)
    return f"fine-tuned from `{base}`" + (f", {redrawn} trained from scratch" if redrawn else "") + frozen


def labels_of(task: Task) -> str:
    return "the transcript" if task.kind == "text" else ", ".join(task.labels)


def silence(pad: str) -> str:
    """What the pad rule adds, as a part of a sentence."""
    rules = {"none": "no silence is added to an utterance", "30s": "every utterance is filled up to 30 s"}
    return rules.get(pad, f"silence is added to an utterance by the rule `{pad}`")


def frames_of(pad: PadRule) -> str:
    """Frames of the encoder after padding, as an expression of `wave`; "" where they are always those of 30 s."""
    if pad.least >= MAX_SAMPLES:
        return ""
    if pad.extra:
        samples = f"(len(wave) + {pad.extra})"
    else:
        samples = f"max(len(wave), {pad.least})" if pad.least else "len(wave)"
    return f"min({MAX_FRAMES // 2}, -(-{samples} // {SAMPLES_PER_FRAME}))"


def any_unscaled(result: SetResult) -> bool:
    """Whether a column is not in percent."""
    return any(column.scale == 1 for column in columns_of(result.pooled.tasks))
