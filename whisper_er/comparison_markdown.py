"""A comparison of two systems as tables: figures and tests, and the utterances that only one of them has right."""

import json
from collections.abc import Sequence

from whisper_er.result_tables import UNDEFINED, level_percent
from whisper_er.results_markdown import table
from whisper_er.score.bootstrap import Interval
from whisper_er.score.comparison import UNITS, Comparison
from whisper_er.score.pairing import Pairs


def comparison_table(comparison: Comparison, names: tuple[str, str]) -> str:
    return table(comparison_rows(comparison, names))


def comparison_rows(comparison: Comparison, names: tuple[str, str]) -> list[list[str]]:
    """A heading, and a row per figure, in percent: both systems, the difference, and per unit its interval and p."""
    tested = [title for unit in UNITS for title in (f"{level_percent()}, by {unit}", "p")]
    rows = [[comparison.task, *names, "difference", *tested]]
    for name, figure in comparison.figures.items():
        row = [name.removeprefix("macro_").upper(), percent(figure.first), percent(figure.second),
               percent(figure.second - figure.first, sign="+")]
        for unit in UNITS:
            bootstrap = figure.second_minus_first[unit]
            row += [bounds(bootstrap.interval), p_value(bootstrap.p_value)]
        rows.append(row)
    return rows


def mcnemar_line(comparison: Comparison, names: tuple[str, str]) -> str:
    mcnemar = comparison.mcnemar
    p = p_value(mcnemar.p_value)
    return (f"Of {len(comparison.first.utt_ids)} utterances only {names[0]} has {mcnemar.only_first} right and only "
            f"{names[1]} {mcnemar.only_second}: exact McNemar test, p {p if p.startswith('<') else f'= {p}'}.")


def changed_table(comparison: Comparison, kept: Sequence[int], names: tuple[str, str]) -> str:
    """A row per utterance at `kept`: transcripts where a system has them, reference, both answers."""
    first, second = comparison.first, comparison.second
    texts = {} if comparison.task_is_text else transcripts(first, second, names)
    rows = [["utterance", *texts, comparison.task, *names]]
    columns = [*texts.values(), first.tasks[comparison.task].reference, answers(first, comparison.task),
               answers(second, comparison.task)]
    rows += [[first.utt_ids[i], *(column[i] for column in columns)] for i in kept]
    return table(rows)


def transcripts(first: Pairs, second: Pairs, names: tuple[str, str]) -> dict[str, Sequence[str]]:
    """Title -> text of each utterance: the reference, and what each system with a text task heard."""
    heard = {}
    for name, pairs in zip(names, (first, second)):
        for task in pairs.tasks.values():
            if task.reference_normalized:
                heard |= {"transcript": task.reference, f"heard by {name}": task.hypothesis}
    return heard


def answers(pairs: Pairs, task: str) -> list[str]:
    """The hypotheses, with their probability where decoding left one."""
    values = pairs.tasks[task]
    if not values.posterior:
        return list(values.hypothesis)
    return [f"{hyp} ({posterior[hyp]:.2f})" for hyp, posterior in zip(values.hypothesis, values.posterior)]


def most_certain(comparison: Comparison, kept: Sequence[int]) -> list[int]:
    """These utterances, first those of which the second system's answer is the most probable."""
    values = comparison.second.tasks[comparison.task]
    if not values.posterior:
        return list(kept)
    return sorted(kept, key=lambda i: -values.posterior[i][values.hypothesis[i]])


def changed_lines(comparison: Comparison) -> str:
    """JSON lines: every utterance that only one of the two has right, with all that both said of it."""
    lines = []
    for right, kept in (("first", comparison.only_first), ("second", comparison.only_second)):
        for i in kept:
            said = {name: {task: {"reference": values.reference[i], "hypothesis": values.hypothesis[i],
                                  **({"posterior": values.posterior[i]} if values.posterior else {})}
                           for task, values in pairs.tasks.items()}
                    for name, pairs in (("first", comparison.first), ("second", comparison.second))}
            about = {"utt_id": comparison.first.utt_ids[i], "speaker": comparison.first.speakers[i], "right": right}
            lines.append(json.dumps(about | said, ensure_ascii=False) + "\n")
    return "".join(lines)


def percent(value: float, sign: str = "") -> str:
    return UNDEFINED if value != value else f"{100 * value:{sign}.1f}"


def bounds(interval: Interval) -> str:
    return UNDEFINED if interval.low != interval.low else f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f}"


def p_value(value: float) -> str:
    """Three digits; what is smaller is written as such."""
    if value != value:
        return UNDEFINED
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
