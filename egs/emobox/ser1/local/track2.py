"""EmoBox's data/track2: balanced sets of four corpora to test across corpora on -> utterances of the corpus' own lists.

An object a line: {"wav_filename": "JK/sa09.wav", "label": "sad", "speaker": "JK"}. The paths are those of other copies
of the corpora: only file name, speaker and label tell which utterance is meant.
"""

from pathlib import Path, PurePosixPath

from emobox import CLONE, Corpus, find_corpus, track2_list

from whisper_er.base.errors import first_few
from whisper_er.base.plain_files import parse_json_lines, read_plain

Entry = dict[str, str]


def read_track2(emobox: Path, corpus: Corpus) -> list[Entry]:
    """The list of the corpus; none where EmoBox has none for it."""
    if (path := track2_list(find_corpus(emobox, corpus.name))) is None:
        return []
    shape = [{"wav_filename": str, "label": str, "speaker": str}]
    return read_plain(parse_json_lines, path, shape, "a list of EmoBox's track2", CLONE)


def match(corpus: Corpus, entries: list[Entry]) -> set[str]:
    """Ids of the utterances that the entries mean; those that mean none, or several, are printed and left out."""
    by_name: dict[str, list[str]] = {}
    for utt_id, utt in corpus.utterances.items():
        by_name.setdefault(PurePosixPath(utt.audio).stem, []).append(utt_id)
    chosen: set[str] = set()
    doubts: dict[str, list[str]] = {"mean no utterance": [], "mean several": [], "have another label here": []}
    for entry in entries:
        found = candidates(corpus, entry, by_name)
        same = [utt_id for utt_id in found if corpus.label(utt_id) == entry["label"].lower()]
        found = same if len(found) > 1 and same else found
        if len(found) == 1:
            chosen.update(found)
            if not same:
                doubts["have another label here"].append(entry["wav_filename"])
        else:
            doubts["mean several" if found else "mean no utterance"].append(entry["wav_filename"])
    notes = [f"{len(names)} {what} ({first_few(names)})" for what, names in doubts.items() if names]
    print("; ".join([f"{corpus.name} track2: {len(chosen)} utterances for {len(entries)} entries", *notes]))
    return chosen


def candidates(corpus: Corpus, entry: Entry, by_name: dict[str, list[str]]) -> list[str]:
    """Utterances of this file name and speaker. IEMOCAP's 02F is Ses02F here; SAVEE's JE/n28.wav is JE_n28.wav."""
    stem, speaker = PurePosixPath(entry["wav_filename"]).stem, entry["speaker"]
    named = by_name.get(stem, []) + by_name.get(f"{speaker}_{stem}", [])
    return [utt_id for utt_id in named if corpus.speakers.get(utt_id, "").endswith(speaker)]
