"""Speech emotion recognition by fine-tuning the whole of Whisper.

from whisper_er import Recognizer
result = Recognizer.from_pretrained("exp/mini/fold1")("talk.wav")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whisper_er.recognize.recognizer import Recognizer

__all__ = ["Recognizer"]


def __getattr__(name: str) -> Any:
    if name == "Recognizer":  # when it is asked for: it brings torch along, which takes seconds
        from whisper_er.recognize.recognizer import Recognizer

        return Recognizer
    raise AttributeError(f"module 'whisper_er' has no attribute '{name}'")
