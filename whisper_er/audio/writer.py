"""Write the audio of stage 1: a file per utterance, or Kaldi arks, which spare the file system millions of files."""

from pathlib import Path

import kaldiio
import numpy as np
import soundfile

from whisper_er.base.errors import UserError
from whisper_er.config import SAMPLE_RATE

FORMATS = ("wav", "flac", "wav.ark", "flac.ark")
MAX_NAME = 255  # bytes of a file name


class AudioWriter:
    """Write 16-bit audio into `directory`, which will be `final_dir` when all is written. A context manager.

    name: of the ark, if the format has one; writers that run at the same time need different ones.
    """

    def __init__(self, directory: Path, final_dir: Path, audio_format: str, name: str) -> None:
        self.codec, _, ark = audio_format.partition(".")
        self.directory, self.final_dir, self.ark_name = directory, final_dir, f"{name}.ark"
        self.ark = open(directory / self.ark_name, "wb") if ark else None

    def __enter__(self) -> "AudioWriter":
        return self

    def __exit__(self, *error: object) -> None:
        if self.ark:
            self.ark.close()

    def write(self, utt_id: str, samples: np.ndarray) -> str:
        """Write float32 (samples,) at SAMPLE_RATE; returns the entry of wav.scp."""
        if not self.ark:
            name = f"{utt_id}.{self.codec}"
            if len(name.encode()) > MAX_NAME:
                raise UserError(f"{utt_id}: too long for a file name; shorten the id or use --audio_format wav.ark")
            soundfile.write(self.directory / name, samples, SAMPLE_RATE, subtype="PCM_16")
            return str(self.final_dir / name)
        start = self.ark.tell() + len(f"{utt_id} ".encode())
        options = {"format": self.codec, "subtype": "PCM_16"}
        kaldiio.save_ark(self.ark, {utt_id: (samples, SAMPLE_RATE)}, write_function="soundfile", write_kwargs=options)
        return f"{self.final_dir / self.ark_name}:{start}"
