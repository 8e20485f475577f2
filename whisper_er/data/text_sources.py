"""Who wrote the transcripts of a data directory: humans, or a recogniser, as its table utt2text_source says."""

from collections import Counter
from pathlib import Path

from whisper_er.data import kaldi

TEXT_SOURCE = "utt2text_source"  # of a data directory: who wrote a transcript, <who>_<how>; no value: a human
HUMANS = "humans"


def text_sources(data_dir: Path) -> dict[str, int]:
    """Source -> number of utterances whose transcript, which is not empty, is by it; those by humans have none."""
    if not (data_dir / TEXT_SOURCE).is_file() or not (data_dir / "text").is_file():
        return {}
    texts, sources = kaldi.read_table(data_dir / "text"), kaldi.read_table(data_dir / TEXT_SOURCE)
    return dict(sorted(Counter(source for utt_id, source in sources.items() if source and texts.get(utt_id)).items()))


def without_text(data_dir: Path) -> int:
    """Number of utterances whose transcript is empty; 0 where there is no table of transcripts."""
    path = data_dir / "text"
    return list(kaldi.read_table(path).values()).count("") if path.is_file() else 0


def written_by(sources: dict[str, int], empty: int, total: int) -> str:
    """The sources, <who>_<how>, with counts where they are several; empty: utterances without a transcript."""
    counts = {", ".join(source.rsplit("_", 1)): count for source, count in sources.items()}
    if humans := total - empty - sum(sources.values()):
        counts[HUMANS] = humans
    if len(counts) == 1 and not empty:
        return next(iter(counts))
    said = [f"{count} by {name}" for name, count in counts.items()]
    return " and ".join([*said, f"{empty} without a transcript"] if empty else said)
