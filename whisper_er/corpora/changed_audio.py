"""Whether a set's audio is as it was when it was formatted: a record of sizes and times, which stage 1 compares."""

from dataclasses import dataclass
from pathlib import Path

from whisper_er.audio.reading import ARK_ENTRY
from whisper_er.base.errors import UserError, first_few
from whisper_er.base.file_states import FileState, file_states, read_states
from whisper_er.data import kaldi

STATES = ".audio_files"  # of a dump directory: its recordings as they were before they were read, and what was written


@dataclass(frozen=True)
class ChangedAudio:
    """Paths of audio files that are not as they were when a set was formatted.

    changed: recordings with another size or time; gone: recordings that do not exist any more, but were converted;
    lost: files in the dump directory that are missing or have another size.
    """

    changed: list[str]
    gone: list[str]
    lost: list[str]


def changed_audio(data_dir: Path, dump_dir: Path) -> ChangedAudio:
    """Compare a set's audio with the record of format_data; UserError where a recording is gone that is used as it is.

    A dump directory of an earlier version has no record: what is newer than its wav.scp has changed.
    """
    recorded, formatted_ns = read_states(dump_dir / STATES), (dump_dir / "wav.scp").stat().st_mtime_ns
    names = [name for name in ("wav.scp", "segments") if (data_dir / name).is_file()]
    sources = audio_files({name: kaldi.read_table(data_dir / name) for name in names})
    used = audio_files({"wav.scp": kaldi.read_table(dump_dir / "wav.scp")})
    states = file_states([*sources, *used])
    gone = [path for path in sources if not states[path]]
    if needed := [path for path in gone if path in used]:
        raise UserError(
            f"{data_dir / 'wav.scp'}: {len(needed)} of {len(sources)} files are used as they are, but do not exist any "
            f"more: {first_few(needed)}; put them back, or leave their utterances out in local/data.sh"
        )

    def is_changed(path: str) -> bool:
        state = states[path]
        return state is not None and (recorded.get(path) != state if recorded else state.mtime_ns > formatted_ns)

    def is_lost(path: str) -> bool:  # its time is left out: a dump directory may be copied
        state = states[path]
        return state is None or (path in recorded and recorded[path].size != state.size)

    written = [path for path in used if path not in sources]
    return ChangedAudio(list(filter(is_changed, sources)), gone, list(filter(is_lost, written)))


def audio_files(data: kaldi.DataDir) -> dict[str, None]:
    """Paths of the recordings that have utterances, each once and in their order; a command names none."""
    recordings = data["wav.scp"]
    if "segments" in data:
        recordings = dict.fromkeys(kaldi.segment(data, utt_id)[0] for utt_id in data["segments"])
    entries = (data["wav.scp"][recording] for recording in recordings)
    named = (entry for entry in entries if not entry.endswith("|"))
    return dict.fromkeys(ark[1] if (ark := ARK_ENTRY.fullmatch(entry)) else entry for entry in named)


def written_files(directory: Path, final_dir: Path) -> dict[str, FileState | None]:
    """The states of the files in `directory`, by their paths after it has become final_dir."""
    states = file_states(map(str, directory.iterdir()))
    return {str(final_dir / Path(path).name): state for path, state in states.items()}
