"""whisper-er NAME ...: every entry point under one command, and the list of them.

`whisper-er NAME` is `python -m whisper_er.bin.NAME`. Nothing is imported but the one that is asked for.
"""

import ast
import difflib
import runpy
import sys
from pathlib import Path

BIN = Path(__file__).with_name("bin")
GROUPS = {
    "With a trained model": "recognize eder demo info",
    "Stages of a recipe (run.sh calls them, in this order)": "validate_data_dir check_audio format_data make_folds"
    " check_speakers token_list check_config train average split_dir decode combine_dirs score results export"
    " export_ctranslate2",
    "Beside them": "csv_to_data pool_corpora transcribe augment_dir calibrate interpolate ensemble compare model_info",
}


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print(overview())
    elif name in names():
        del sys.argv[1]
        runpy.run_module(f"whisper_er.bin.{name}", run_name="__main__", alter_sys=True)
    else:
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"allowed: {' '.join(names())}"
        print(f"error: whisper-er has no '{name}'; {hint}", file=sys.stderr)
        sys.exit(2)


def names() -> list[str]:
    return [name for group in GROUPS.values() for name in group.split()]


def overview() -> str:
    """Every entry point with the first line of its docstring."""
    lines = ["usage: whisper-er NAME ...      whisper-er NAME --help says more"]
    for title, group in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {name:18} {summary(name)}" for name in group.split())]
    return "\n".join(lines)


def summary(name: str) -> str:
    """Read from the source: to import all of them would take seconds."""
    docstring = ast.get_docstring(ast.parse((BIN / f"{name}.py").read_text(encoding="utf-8")))
    return docstring.partition("\n")[0]


if __name__ == "__main__":
    main()
