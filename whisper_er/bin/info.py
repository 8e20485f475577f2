"""What a trained model is: its tasks and labels, how it was made, its size, its scores.

whisper-er info exp/mini/fold1
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from whisper_er.bin import make_parser, run
from whisper_er.config import TrainConfig
from whisper_er.report.rows import columns_of
from whisper_er.score.results import RESULT, read_result
from whisper_er.train.experiment import trained_languages

if TYPE_CHECKING:
    from whisper_er.recognize.recognizer import Recognizer


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("model", metavar="DIR", help="experiment directory, what stage 7 exported, or a hub name")
    show(parser.parse_args().model)


def show(model: str) -> None:
    from whisper_er.base.hub import model_directory
    from whisper_er.recognize.recognizer import Recognizer

    directory = model_directory(model)
    recognizer = Recognizer.open(directory)
    for title, line in [*of_model(recognizer), *of_training(directory, recognizer.config), *of_scores(directory)]:
        print(f"{title:12}{line}")


def of_model(recognizer: "Recognizer") -> Iterator[tuple[str, str]]:
    """Title and text of each line; a line that goes on has no title."""
    from whisper_er.models.size import count_parameters, trained_parameters

    config, model = recognizer.config.model, recognizer.model
    yield "model", f"{config.kind} on {model.family}"
    if counts := count_parameters(model):
        parts = ", ".join(f"{part} {size.trained + size.frozen:,}" for part, size in counts.items())
        yield "parameters", f"{trained_parameters(model):,} trainable; {parts}"
    if layer_sum := getattr(model, "layer_sum", None):
        shares = " ".join(f"{share:.3f}" for share in layer_sum.weights().tolist())
        yield "layers", f"weights of the first one's input and of each: {shares}"
    if numbers := getattr(model, "layer_numbers", ()):
        yield "layers", f"{' '.join(map(str, numbers))} side by side, of which 0 is the input of the first"
    yield "input", f"16 kHz mono, pad {config.pad}"
    yield "language", recognizer.tokenizer.language
    for number, task in enumerate(recognizer.tokenizer.tasks):
        yield "" if number else "tasks", f"{task.name} ({task.kind}) {' '.join(task.labels)}".rstrip()


def of_training(directory: Path, config: TrainConfig) -> Iterator[tuple[str, str]]:
    """Of an experiment; what an exported model was made from, its card says."""
    from whisper_er.export.model_card import history

    if (directory / "config.yaml").is_file():
        yield "weights", history(config, config.model.whisper_model or config.model.encoder_model)
    if languages := trained_languages(directory):
        counts = ", ".join(f"{language} {count}" for language, count in languages.items())
        yield "", f"trained with prefixes in several languages: {counts} utterances"


def of_scores(directory: Path) -> Iterator[tuple[str, str]]:
    """Those that stage 6 left in an experiment directory."""
    paths = sorted(directory.glob(f"decode_*/*/{RESULT}"))
    if not paths:
        yield "scores", "see its README.md" if (directory / "README.md").is_file() else "none yet (stages 5 and 6)"
    for path in paths:
        result = read_result(path)
        columns = columns_of(result.score.tasks)
        figures = ", ".join(f"{column.title} {column.show(result.score.values)}" for column in columns)
        yield "scores", f"{path.parents[1].relative_to(directory)}: {figures}"
        yield "", result.about["protocol"]


if __name__ == "__main__":
    run(main)
