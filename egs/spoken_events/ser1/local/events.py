"""The events of events.txt: 480 sentences that tell what happened, never what somebody feels about it."""

import re
from dataclasses import dataclass
from pathlib import Path

TOPIC = re.compile(r"# (?P<emotion>\w+) (?P<set_name>train|valid|test): (?P<topic>.+)")


@dataclass(frozen=True)
class Event:
    """event_id: set, emotion and number in the set; topic: what its neighbours in the file are about, too."""

    event_id: str
    set_name: str
    emotion: str
    topic: str
    text: str


def read_events(path: Path) -> list[Event]:
    """`# emotion set: topic`, then the sentences of this topic, a line each; in the order of the file."""
    events, heading, number = [], None, {}
    for line in filter(None, path.read_text(encoding="utf-8").splitlines()):
        if line.startswith("#"):
            heading = TOPIC.fullmatch(line)
            assert heading, f"{path}: {line!r} is not '# emotion train|valid|test: topic'"
            continue
        emotion, set_name, topic = heading.group("emotion", "set_name", "topic")
        number[set_name, emotion] = number.get((set_name, emotion), 0) + 1
        event_id = f"{set_name}_{emotion}_{number[set_name, emotion]:02d}"
        events.append(Event(event_id, set_name, emotion, topic, line))
    return events
