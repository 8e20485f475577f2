"""The demo's page: a recording from the microphone or a file -> transcript, labels and probabilities.

gradio is an extra of the package (demo); it is imported when a page is built.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisper_er.audio.loudness import CLICK, SILENT
from whisper_er.audio.reading import open_audio
from whisper_er.base.errors import UserError
from whisper_er.demo import fragments
from whisper_er.process.memory import out_of_memory
from whisper_er.recognize.recordings import open_recording
from whisper_er.recognize.result import Recognition
from whisper_er.task import Task, main_task

if TYPE_CHECKING:
    from whisper_er.recognize.recognizer import Recognizer

MOST_VALUES = 8 * 192_000  # samples a second, all channels: bounds what a small compressed file can unfold to
MOST_LABELS = 8  # labels of a task that are shown
KEPT = 600  # seconds that an upload is kept, so that it can be heard and recognised again
SHOWN = 20  # seconds that an error is shown
WAITING = 16  # visitors in the queue; the model serves one at a time
MEMORY_ADVICE = "try a shorter recording, or let who runs this page lower --batch_size or --beam_size"

NOTE = (
    "The answer is a statistical guess at the emotion that a voice expresses, learned from labelled recordings. It "
    "does not say what somebody feels, and it can be wrong."
)
CSS = """
.gradio-container { max-width: 800px !important; margin: 0 auto !important; }
.scroll, #recording { contain: inline-size; }  /* as wide as the window and not as what is in them */
.scroll { overflow-x: auto; }
#summary { min-height: 48px; }
.html-container { padding: 0 !important; }
.scroll table { width: 100%; border-collapse: collapse; }
.scroll :is(table, thead, tbody, tr) { border: none !important; }
.scroll caption { text-align: left; font-weight: 600; padding: 4px 0; }
.scroll th, .scroll td { text-align: left; vertical-align: top; padding: 4px 16px 4px 0; border: none;
                         border-bottom: 1px solid var(--border-color-primary); }
.scroll td, .scroll [scope="row"] { font-weight: inherit; white-space: nowrap; }
.scroll td:last-child { white-space: normal; min-width: 12em; }
.scroll img { min-width: 640px; width: 100%; }
"""


@dataclass(frozen=True)
class Limits:
    """Largest size and length of a recording."""

    megabytes: int  # of 2^20 bytes, as gradio counts them
    seconds: float

    @property
    def bytes(self) -> int:
        return self.megabytes * 2**20


def find_gradio() -> Any:
    """Import gradio, with its analytics off; UserError where it is not installed."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError:
        raise UserError("the demo page needs gradio, which is not installed: pip install 'whisper_er[demo]'") from None
    return gradio


def build_page(recognizer: "Recognizer", limits: Limits) -> Any:
    """The demo's page, as gradio's Blocks."""
    gr = find_gradio()
    tasks = by_interest(recognizer.tokenizer.tasks)
    drawn = drawn_task(tasks)
    with gr.Blocks(title="whisper_er demo", analytics_enabled=False) as page:
        gr.Markdown("# Speech emotion recognition")
        gr.Markdown(NOTE)
        audio = gr.Audio(
            sources=["upload", "microphone"], type="filepath", label="Recording", buttons=[], elem_id="recording"
        )
        audio.async_move_resource_to_block_cache = uploads_only(gr, audio.async_move_resource_to_block_cache)
        gr.Markdown(
            f"WAV, FLAC, MP3, Ogg and whatever else libsndfile reads; at most {limits.megabytes} MB and "
            f"{limits.seconds:g} seconds. Recordings are deleted after {KEPT // 60} minutes."
        )
        button = gr.Button("Recognize", variant="primary", interactive=False)
        summary = gr.HTML(elem_id="summary")  # shows the progress, or that there was an error, until there is a result
        with gr.Column(visible=False) as result:
            answers = [answer_component(gr, task) for task in tasks]
            timeline, utterances = gr.HTML(), gr.HTML()
        with gr.Accordion("The model", open=False):
            gr.HTML(fragments.facts(tasks, recognizer.tokenizer.language))

        def show(path: str | None) -> list:
            try:
                recognition = recognize(recognizer, path, limits)
            except UserError as error:
                message = escape(str(error))  # gradio renders it as HTML
                raise gr.Error(message, duration=SHOWN, print_exception=False) from None
            except Exception as error:  # a defect of ours: gradio prints it, and would tell the visitor nothing
                raise gr.Error("the server failed; its terminal says why", duration=SHOWN) from error
            several = len(recognition.segments) > 1
            return [
                fragments.summary(recognition),
                gr.Column(visible=True),
                *(answer(recognition, task) for task in tasks),
                gr.HTML(fragments.timeline(recognition, drawn) if several and drawn else "", visible=several),
                gr.HTML(fragments.utterances(recognition, tasks) if several else "", visible=several),
            ]

        def start_again(path: str | None) -> list:
            """Hide the answer for the recording before; the button works once an upload is complete."""
            return [gr.Button(interactive=path is not None), "", gr.Column(visible=False)]

        outputs = [summary, result, *answers, timeline, utterances]
        private = {"api_visibility": "private"}
        button.click(show, audio, outputs, concurrency_limit=1, show_progress_on=summary, **private)
        audio.change(start_again, audio, [button, summary, result], queue=False, show_progress="hidden", **private)
    return page.queue(max_size=WAITING, api_open=False)


def uploads_only(gr: Any, move: Callable) -> Callable:
    """gradio's `move`, refusing an address that a visitor names: gradio would fetch what lies there."""

    async def move_upload(path: str | Path | None) -> str | None:
        if path is not None and "://" in str(path):
            raise gr.Error("an address is no recording: upload the file", print_exception=False)
        return await move(path)

    return move_upload


def drawn_task(tasks: Sequence[Task]) -> str:
    """The category whose timeline is drawn; "" where there is none."""
    categories = [task for task in tasks if task.kind == "category"]
    return main_task(categories).name if categories else ""


def by_interest(tasks: Sequence[Task]) -> list[Task]:
    """Tasks in the order of the page: the transcript, the task that is drawn, the others."""
    return sorted(tasks, key=lambda task: (task.kind != "text", task.name != drawn_task(tasks)))


def answer_component(gr: Any, task: Task) -> Any:
    """The component that shows the answer of a task."""
    if task.kind == "text":
        return gr.Textbox(label="transcript", interactive=False)
    if task.kind == "scale":
        return gr.Number(label=f"{task.name} ({task.labels[0]} to {task.labels[-1]})", interactive=False)
    return gr.Label(label=task.name, num_top_classes=MOST_LABELS)


def answer(recognition: Recognition, task: Task) -> Any:
    """The value of the task's component."""
    if task.kind == "text":
        return recognition.text
    return round(recognition.scales[task.name], 2) if task.kind == "scale" else recognition.probabilities[task.name]


def recognize(recognizer: "Recognizer", path: str | None, limits: Limits) -> Recognition:
    """Recognise an upload; UserError, with the file's name but not its path, where that is impossible."""
    if path is None:
        raise UserError("no recording: choose a file, or record one")
    name = Path(path).name
    try:
        check(path, name, limits)
        recording = open_recording(path)
        if not recording.spans:
            raise UserError(f"{name}: silence: nothing is louder than {SILENT:g} dB for {CLICK:g} s; record it louder")
        return next(recognizer.stream([recording]))
    except UserError as error:
        raise UserError(str(error).replace(f"{name}: {path}: ", f"{name}: ").replace(path, name)) from None
    except Exception as error:
        raise out_of_memory(error, MEMORY_ADVICE) or error from None


def check(path: str, name: str, limits: Limits) -> None:
    """UserError beyond the limits, by the header alone; a header that claims too much shows when the file is read."""
    if not Path(path).is_file():
        raise UserError(f"{name}: deleted after {KEPT // 60} minutes: choose it again")
    if (size := Path(path).stat().st_size) > limits.bytes:
        raise UserError(f"{name}: {size / 2**20:.1f} MB; allowed are {limits.megabytes} MB")
    with open_audio(path, name) as sound:
        seconds, rate, channels = sound.frames / sound.samplerate, sound.samplerate, sound.channels
    if seconds > limits.seconds:
        raise UserError(f"{name}: {seconds:.1f} s; allowed are {limits.seconds:g} s: cut it")
    if channels * rate > MOST_VALUES:
        raise UserError(f"{name}: {channels} channels at {rate} Hz; allowed are 8 at 192000 Hz")
