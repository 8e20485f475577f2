"""What gpu.sh has measured, as tables: the goals first, then every figure.

tools/venv/bin/python tools/benchmark/gpu_table.py OUT_DIR
"""

import argparse
import json
import math
from pathlib import Path

GOALS = {  # benchmark, model -> times transformers' fastest, utterances a second
    ("train", "base"): (5, 2000),
    ("train", "large-v3"): (5.5, 200),
    ("decode", "base"): (10, 1000),
    ("decode", "large-v3"): (15, 250),
}
BUSY = 0.85  # of a training step's time, at least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out_dir", type=Path, help="that of gpu.sh")
    parts = read(parser.parse_args().out_dir)
    show([["goal", "ours", "part", "transformers", "part", "times", "utt/s", "GPU busy"], *goals(parts)])
    for name, part in parts.items():
        for table, rows in part.items():
            if isinstance(rows, list):
                print(f"{name}: {table}, {part['device']}")
                show([list(rows[0]), *(list(row.values()) for row in rows)])


def read(out_dir: Path) -> dict[str, dict]:
    """The line of JSON in which each part ended that has one."""
    parts = {}
    for path in sorted(out_dir.glob("*.txt")):
        last = path.read_text(errors="replace").rstrip().rpartition("\n")[2]
        if last.startswith('{"benchmark"'):
            parts[path.stem] = json.loads(last)
    return parts


def goals(parts: dict[str, dict]) -> list[list]:
    """A row per goal: our fastest and transformers' fastest, where they were measured."""
    rows = []
    for (benchmark, model), (times, rate) in GOALS.items():
        systems = [
            (row["utt/s"], name, row)
            for name, part in parts.items()
            if (part["benchmark"], part.get("model")) == (benchmark, model)
            for row in part["systems"]
        ]
        ours, our_part, row = fastest(systems, "ours")
        theirs, their_part, _ = fastest(systems, "transformers")
        cells = [f"{benchmark} {model}", ours, our_part, theirs, their_part]
        cells += [judged(ours / theirs, times), judged(ours, rate)]
        rows.append([*cells, judged(row["GPU busy"], BUSY) if "GPU busy" in row else ""])
    return rows


def fastest(systems: list[tuple[float, str, dict]], start: str) -> tuple[float, str, dict]:
    """utt/s, part and row of a system whose name is `start` or goes on after it with a comma."""
    chosen = [system for system in systems if system[2]["system"].split(",")[0] == start]
    return max(chosen, key=lambda system: system[0], default=(math.nan, "", {}))


def judged(value: float, goal: float) -> str:
    if math.isnan(value):
        return "not measured"
    return f"{rounded(value)} ({'met' if value >= goal else 'not met'}: {rounded(goal)})"


def rounded(number: float) -> str:
    return "" if math.isnan(number) else f"{number:,.0f}" if number >= 1000 else f"{number:.3g}"


def show(rows: list[list]) -> None:
    cells = [[rounded(cell) if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    for row in cells:
        print(row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:])), sep="  ")
    print()


if __name__ == "__main__":
    main()
