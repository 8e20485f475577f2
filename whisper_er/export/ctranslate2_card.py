"""README.md of a CTranslate2 model: how to open it, the result of its check, its speed."""

import yaml

from whisper_er.base.errors import first_few
from whisper_er.export.ctranslate2_check import CHECK, Check
from whisper_er.export.model_card import hub_header
from whisper_er.recognize.ctranslate2_engine import PATIENCE, prompt_of
from whisper_er.report.markdown import bullets
from whisper_er.text.tokenizer import Tokenizer

CARD = "MODEL_CARD.md"  # README.md of the model that was converted


def read_me(tokenizer: Tokenizer, pad: str, check: Check) -> str:
    """The text of README.md. pad: pad rule of the model's input."""
    header = yaml.safe_dump(hub_header(tokenizer, "ctranslate2"), sort_keys=False, allow_unicode=True)
    return (
        "\n\n".join(
            [
                f"---\n{header}---",
                f"# A Whisper-ER model for CTranslate2, weights in {check.quantization}",
                f"What it is, what it was trained on and for, its figures and its limits: {CARD}, the card of the "
                "model that it was converted from.",
                'With whisper_er and ctranslate2 (`pip install "whisper_er[export]"`), in this directory:',
                '```python\nfrom whisper_er import Recognizer\n\nprint(Recognizer.from_pretrained(".")("a.wav"))\n```',
                bullets(differences(tokenizer, pad)),
                "## Check",
                f"{check.num_utterances} utterances, {check.audio_seconds:.0f} s of audio, decoded by the model that "
                f"it was converted from and by this one ({CHECK}):",
                check.table(),
                bullets(details(check)),
                check.speed_table(),
                f"One after the other on the same machine, {check.threads} threads, features included, after a "
                f"warm-up; batches of {check.decoding['batch_size']}, of which CTranslate2 gets the utterances with "
                "the same number of frames together (it has no mask, so often one alone). Its time includes a second "
                "pass, for the posteriors.",
            ]
        )
        + "\n"
    )


def differences(tokenizer: Tokenizer, pad: str) -> list[str]:
    """How its decoding differs from our own search, a line each."""
    return [
        "Posteriors are those given the best hypothesis (`posterior: best`), not over the beam.",
        "CTranslate2 knows no grammar: of a malformed hypothesis the beginning is kept, and the labels that it lacks "
        "are the model's best after that.",
        f"With ctranslate2 alone: the prompt is {prompt_of(tokenizer)}; utterances with another number of frames go in "
        f"another call; `suppress_blank=False, suppress_tokens=[], patience={PATIENCE:g}`; features of "
        f"whisper_er/models/features.py, or Whisper's for 30 s cut to the frames of the pad rule `{pad}`; labels are "
        f"the ids from {tokenizer.text.size} on, in the order of vocabulary.json.",
    ]


def details(check: Check) -> list[str]:
    lines = [
        f"weights `{check.quantization}`, products `{check.compute_type}`",
        "decoding: " + ", ".join(f"{key} {value}" for key, value in check.decoding.items()),
        f"{check.completed} hypotheses of CTranslate2 lacked a label at its place",
    ]
    return lines + [f"{task} differs for {first_few(ids)}" for task, ids in check.different.items() if ids]
