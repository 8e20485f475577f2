"""Apply augmentations to a dump directory once: the copy of a test set that shows how robust a model is.

    whisper-er augment_dir --data_dir dump/fold1/test --out_dir dump/fold1/test_10dB \\
        noise.files=dump/noise/wav.scp noise.snr=[10,10]

The options are those of `augment` in the configuration (data/augment.py). What is drawn depends on --seed and the
utterance alone: copies at several noise levels have the same noise at the same place. `augment.yaml` in the copy says
how it was made.
"""

from pathlib import Path

import numpy as np
import yaml

from whisper_er.audio.reading import load_audio
from whisper_er.audio.writer import FORMATS, AudioWriter
from whisper_er.base import settings
from whisper_er.base.errors import UserError, first_few
from whisper_er.bin import add_folds_argument, make_parser, of_each_fold, run
from whisper_er.config import TrainConfig
from whisper_er.data import kaldi
from whisper_er.data.augment import AUGMENTATIONS, augmentation, tables_of


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--data_dir", type=Path, required=True, help="dump directory")
    parser.add_argument("--out_dir", type=Path, required=True, help="dump directory; appears, or is replaced, whole")
    parser.add_argument("--seed", type=int, default=0, help="%(default)s")
    parser.add_argument("--audio_format", choices=FORMATS, default="wav", help="%(default)s")
    parser.add_argument("options", nargs="+", metavar="key=value", help=f"of {', '.join(AUGMENTATIONS)}")
    add_folds_argument(parser)
    for args in of_each_fold(parser.parse_args()):
        chosen: dict = {}
        settings.override(chosen, args.options)
        for name in chosen:
            if name not in AUGMENTATIONS:
                raise UserError(f"options: augment: '{name}' is not allowed; allowed: {' '.join(AUGMENTATIONS)}")
        chosen = settings.build(TrainConfig, {"augment": chosen}, "options").augment
        augment_dir(args.data_dir, args.out_dir, chosen, args.seed, args.audio_format)


def augment_dir(data_dir: Path, out_dir: Path, chosen: dict[str, dict], seed: int, audio_format: str) -> None:
    """Write out_dir. chosen: as `augment` in the configuration. 16-bit samples cannot be louder than full scale: an
    utterance that would be is turned down as a whole, which leaves its signal-to-noise ratio as it is."""
    if out_dir.resolve() == data_dir.resolve():
        raise UserError(f"{out_dir}: --out_dir is --data_dir; choose another output directory")
    if seed < 0:
        raise UserError(f"--seed {seed}: allowed is 0 or more")
    data = kaldi.read_dir(data_dir)
    kaldi.validate(data_dir, data)
    if "segments" in data:
        raise UserError(f"{data_dir / 'segments'}: allowed are whole files; run stage 1 (format_data) before")
    tables_of(chosen)
    change = augmentation(chosen, seed)(0)
    unchanged, turned_down = [], []
    with kaldi.replace_data_dir(out_dir) as new:
        (new / kaldi.AUDIO).mkdir()
        with AudioWriter(new / kaldi.AUDIO, out_dir / kaldi.AUDIO, audio_format, "audio.1") as writer:
            for utt_id, entry in sorted(data["wav.scp"].items()):
                samples = load_audio(entry, utt_id)
                changed = change(utt_id, samples, 0)
                if changed is samples:
                    unchanged.append(utt_id)
                if (peak := np.abs(changed).max()) > 1:
                    turned_down.append(utt_id)
                    changed = changed / peak
                data["wav.scp"][utt_id] = writer.write(utt_id, changed)
                data.setdefault("utt2num_samples", {})[utt_id] = str(len(changed))
        for name, table in data.items():
            kaldi.write_table(new / name, table)
        made = {"data_dir": str(data_dir), "seed": seed, "augment": chosen}
        (new / "augment.yaml").write_text(yaml.safe_dump(made), encoding="utf-8")
    print(f"{data_dir} -> {out_dir}: {len(data['wav.scp'])} utterances")
    for utt_ids, what in ((unchanged, "stay as they are"), (turned_down, "are turned down to full scale")):
        if utt_ids:
            print(f"{out_dir}: {len(utt_ids)} {what}: {first_few(utt_ids)}")


if __name__ == "__main__":
    run(main)
