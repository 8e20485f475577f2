"""The sound of utterances for a page: in it as MP3 as far as a budget reaches, else as a link to the file."""

import base64
import functools
import io
import os
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile
from tqdm import tqdm

from whisper_er.audio.reading import ARK_ENTRY, load_audio
from whisper_er.base.errors import UserError, first_few
from whisper_er.config import SAMPLE_RATE
from whisper_er.data.kaldi import read_table

MEGABYTE = 1_000_000
MOST_MB = 500  # a larger page is no longer opened in seconds
DEFAULT_MB = 20.0  # 50 minutes of speech, whose encoding takes a core half a minute
COMPRESSION = 0.9  # libsndfile's scale, from 0 to 1; two thirds of its default's bytes


def megabytes(text: str) -> float:
    """Of an option."""
    number = float(text)
    if not 0 <= number <= MOST_MB:
        raise ValueError
    return number


@dataclass(frozen=True)
class Clip:
    """An utterance and the data directory that it was decoded from; None: not known."""

    utt_id: str
    directory: Path | None


@dataclass(frozen=True)
class Sounds:
    """of_clip: per clip the number of an embedded sound, a link, or None; embedded: MP3 in base64; problems: lines."""

    of_clip: list[int | str | None]
    embedded: list[str]
    problems: list[str]

    @property
    def summary(self) -> str:
        inside, links = (sum(isinstance(own, kind) for own in self.of_clip) for kind in (int, str))
        size, every = sum(map(len, self.embedded)) / MEGABYTE, len(self.of_clip)
        return (
            f"Audio: of {every} utterances {inside} are in this file ({size:.1f} MB), {links} are links to files "
            f"on the machine that made it, {every - inside - links} have none."
        )


@functools.lru_cache(maxsize=4096)  # the reports of several seeds hold much the same utterances
def encode(entry: str, utt_id: str) -> str:
    """An entry of wav.scp as MP3 in base64: of speech about 6 kB for a second. UserError where it cannot be read or
    encoded."""
    buffer, samples = io.BytesIO(), load_audio(entry, utt_id)
    try:
        soundfile.write(buffer, samples, SAMPLE_RATE, format="MP3", compression_level=COMPRESSION)
    except (soundfile.SoundFileError, ValueError) as error:
        raise UserError(f"{utt_id}: libsndfile cannot write MP3 here ({error}); update soundfile") from None
    return base64.b64encode(buffer.getvalue()).decode()


def gather(clips: Sequence[Clip], page_dir: Path, budget_mb: float) -> Sounds:
    """Embed clips in their order up to the budget (of base64); the first that does not fit and all after are links."""
    left = int(budget_mb * MEGABYTE)
    tables, problems = read_scps(clips)
    of_clip: list[int | str | None] = []
    embedded: dict[str, int] = {}  # entry -> number
    contents, broken = [], []
    # progress.py has a bar as well, but asks torch for the rank, which takes longer than a small report.
    for clip in tqdm(clips, "audio", unit="utt", disable=None, dynamic_ncols=True):  # None: where there is a terminal
        entry = tables.get(clip.directory, {}).get(clip.utt_id)
        if entry and entry not in embedded and left > 0:
            try:
                content = encode(entry, clip.utt_id)
            except UserError as error:
                broken.append(str(error))
                of_clip.append(None)
                continue
            left -= len(content)
            if left >= 0:
                embedded[entry] = len(contents)
                contents.append(content)
        of_clip.append(embedded[entry] if entry in embedded else link(entry, page_dir))
    if broken:
        problems.append(f"Audio of {len(broken)} utterances cannot be read: {first_few(broken, 1)}")
    return Sounds(of_clip, contents, problems)


def read_scps(clips: Sequence[Clip]) -> tuple[dict[Path | None, dict[str, str]], list[str]]:
    """Directory -> its wav.scp; and what is wrong with those that cannot be read, one line each."""
    tables, problems = {}, []
    for directory in dict.fromkeys(clip.directory for clip in clips):
        count = sum(clip.directory == directory for clip in clips)
        try:
            if directory is None:
                raise UserError("result.json does not name the data directory; run stage 6 again")
            tables[directory] = read_table(directory / "wav.scp")
        except (UserError, OSError, ValueError) as error:
            problems.append(f"No audio for {count} utterances: {error}")
    return tables, problems


def link(entry: str | None, page_dir: Path) -> str | None:
    """The file as the page's directory sees it; None for what is in an ark or is not a file."""
    if not entry or ARK_ENTRY.fullmatch(entry) or entry.endswith("|") or not os.path.isfile(entry):
        return None
    return urllib.parse.quote(os.path.relpath(os.path.realpath(entry), os.path.realpath(page_dir)))
