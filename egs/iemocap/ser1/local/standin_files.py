"""The text files of the stand-in, in the release's formats and with its quirks."""

import random
from pathlib import Path

NAMES = {
    "neu": "Neutral",
    "hap": "Happiness",
    "sad": "Sadness",
    "ang": "Anger",
    "sur": "Surprise",
    "fea": "Fear",
    "dis": "Disgust",
    "fru": "Frustration",
    "exc": "Excited",
    "oth": "Other",
}
APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        "
HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]"
UNSEGMENTED = (10, 10, 10, 9, 9)  # turns that have a line of text and no recording: 48
ANONYMOUS = (31, 31, 30, 30, 30)  # lines without an id: 152, one of them with a space before the colon
CRLF_EVERY = 7  # dialogs


def write_session(place: Path, dialogs: dict[str, list], rng: random.Random) -> None:
    """place: Session<k>; dialogs: name -> its utterances (make_standin.Line)."""
    ratings, texts = place / "dialog" / "EmoEvaluation", place / "dialog" / "transcriptions"
    wavs = place / "sentences" / "wav"
    for directory in (texts, wavs, *(ratings / name for name in ("Categorical", "Attribute", "Self-evaluation"))):
        directory.mkdir(parents=True)
    session = int(place.name[-1]) - 1
    for index, (name, lines) in enumerate(dialogs.items()):
        (wavs / name).mkdir()
        end = "\r\n" if index % CRLF_EVERY == 3 else "\n"
        times = spans(lines)
        extra = beside_the_turns(name, index, len(dialogs), UNSEGMENTED[session], ANONYMOUS[session], session == 0)
        write(texts / f"{name}.txt", [text_line(line, span) for line, span in zip(lines, times)] + extra, end)
        blocks = [row for line, span in zip(lines, times) for row in rating_block(line, span, rng)]
        write(ratings / f"{name}.txt", [HEADER, "", *blocks], end)
        decoy = [
            row.replace(f"\t{line.label}\t", "\tfru\t")
            for line, span in zip(lines, times)
            for row in rating_block(line, span, rng)
        ]
        for kind, suffix in (("Categorical", "e2_cat"), ("Attribute", "e2_atr"), ("Self-evaluation", "f1")):
            write(ratings / kind / f"{name}_{suffix}.txt", decoy, "\n")
        for hidden in (ratings / f"._{name}.txt", texts / f"._{name}.txt", wavs / name / f"._{lines[0].utt_id}.wav"):
            hidden.write_bytes(APPLE_DOUBLE)
    for directory in (ratings, texts, wavs):
        (directory / ".DS_Store").write_bytes(APPLE_DOUBLE)


def spans(lines: list) -> list[tuple[float, float]]:
    """Start and end of each turn in its dialog, in seconds."""
    result, start = [], 6.2901
    for line in lines:
        result.append((start, start + line.seconds))
        start += line.seconds + 0.4
    return result


def text_line(line, span: tuple[float, float]) -> str:
    return f"{line.utt_id} [{span[0]:08.4f}-{span[1]:08.4f}]: {line.text}"


def rating_block(line, span: tuple[float, float], rng: random.Random) -> list[str]:
    """What EmoEvaluation says of an utterance: the label and mean ratings, then who voted what, then an empty line."""
    mean = ", ".join(f"{rng.choice((2.0, 2.3333, 2.5, 3.0, 3.6667, 4.0)):.4f}" for _ in range(3))
    rows = [f"[{span[0]:.4f} - {span[1]:.4f}]\t{line.utt_id}\t{line.label}\t[{mean}]"]
    rows += [f"C-E{number}:\t{NAMES[vote]};\t()" for number, vote in enumerate(line.votes, start=2)]
    actor = line.utt_id[5]
    return [
        *rows,
        f"C-{actor}1:\tSurprise; Other;\t(own view)",
        "A-E3:\tval 3; act 2; dom  2;\t()",
        f"A-{actor}1:\tval 2; act 3; dom  ;\t()",
        "",
    ]


def beside_the_turns(
    name: str, index: int, num_dialogs: int, unsegmented: int, anonymous: int, first_session: bool
) -> list[str]:
    """The dialog's share of the lines that belong to no utterance."""

    def share(count: int) -> range:
        return range(count * index // num_dialogs, count * (index + 1) // num_dialogs)

    rows = [f"{name}_{'MF'[n % 2]}XX{n % 2} [{n:08.4f}-{n + 1:08.4f}]: Mm, hm." for n in share(unsegmented)]
    for n in share(anonymous):
        rows.append(f"{'MF'[n % 2]}{' ' if first_session and n == 1 else ''}: And then what?")
    return rows


def write(path: Path, rows: list[str], end: str) -> None:
    path.write_text("".join(row + end for row in rows), encoding="utf-8", newline="")
