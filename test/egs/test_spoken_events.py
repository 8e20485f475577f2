"""egs/spoken_events: words tell the emotion, nothing else does, and no split knows the words of another."""

import re
import subprocess
import sys
from collections import Counter

import pytest
from repository import EGS

LOCAL = EGS / "spoken_events/ser1/local"
EMOTIONS = ("happy", "sad", "angry", "fearful")
SIZES = {"train": 80, "valid": 14, "test": 26}  # events of each emotion
PEOPLE = ("I", "We", *(f"My {who}" for who in "sister brother mother father neighbour friend cousin uncle".split()))
EMOTION_WORD = re.compile(
    r"\b(glad|happ|joy|delight|anger|angr|fur[iy]|rage|raging|afraid|fear|scar[ey]|terr[io]|panic|cry(ing)?\b|crie[ds]|tears?\b|we[ep]p"
    r"|sob(s|bed|bing)?\b|laugh|smil|grin|scream|shout|yell|sad|upset|grie|mourn|sorr|lonel|miser|hat(e|red)|lov(e|ing)"
    r"|proud|worr|anxi|annoy|horr|awful|wonderful|asham|disgust|cheer|excit|celebr|enjoy|bitter|jealous|dread|fright"
    r"|hop(e|ing)|regret|despair|outrag|shock|relie[fv]|sham|nervous|unhapp|gloom|depress|emotion|feeling)"
)
# Of a sentence, what does not say what happened: grammar, numbers, and who tells it.
STOP_WORDS = frozenset(
    """a about after again against all along although always an and another any are around as asked at away back be
    because been before behind being below beneath beside between but by can cannot could did do does done down during
    each else every everybody everyone everything few for from get gets getting give given gives giving go goes going
    gone got had has have having he her hers him his how i if in into is it its just like may me more most must my never
    no nobody nor not nothing now of off on once one only or other others our ours out over own past right she should
    since so some somebody someone something still ten than that the their them then there these they this those though
    three through to too towards two under until up us very was we were what when whenever where which while who whom
    whose will with without would yet you your five six
    sister brother mother father neighbour friend cousin uncle""".split()
)


@pytest.fixture(scope="module")
def corpus():
    sys.path.insert(0, str(LOCAL))
    try:
        import events as module
    finally:
        sys.path.remove(str(LOCAL))
    return module.read_events(LOCAL / "events.txt")


def stem(word: str) -> str:
    return re.sub(r"(?<=\w{3})(ing|ed|es|er|ly|s|e)$", "", word)


def content_words(events) -> set[str]:
    words = {word for event in events for word in re.findall("[a-z]+", event.text.lower())}
    return {stem(word) for word in words - STOP_WORDS}


def of(corpus, set_name: str, emotion: str) -> list:
    return [event for event in corpus if (event.set_name, event.emotion) == (set_name, emotion)]


def test_there_are_480_different_events_a_hundred_and_twenty_of_each_emotion(corpus):
    assert len({event.text for event in corpus}) == len({event.event_id for event in corpus}) == len(corpus) == 480
    counted = Counter((event.set_name, event.emotion) for event in corpus)
    assert counted == {(name, emotion): size for name, size in SIZES.items() for emotion in EMOTIONS}


def test_a_sentence_is_plain_and_names_no_emotion(corpus):
    for event in corpus:
        assert re.fullmatch(r"[A-Z][A-Za-z, ]+\.", event.text), event
        assert 6 <= len(event.text.split()) <= 11, event
        assert not EMOTION_WORD.search(event.text.lower()), event


def test_who_it_happens_to_and_the_length_of_the_sentence_give_nothing_away(corpus):
    for set_name in SIZES:
        openings, lengths = [], []
        for emotion in EMOTIONS:
            texts = [event.text for event in of(corpus, set_name, emotion)]
            openings.append(Counter(re.match("|".join(rf"{who}\b" for who in PEOPLE), text)[0] for text in texts))
            lengths.append(sum(len(text.split()) for text in texts) / len(texts))
        assert all(counted == openings[0] for counted in openings)
        assert max(lengths) - min(lengths) < 0.5


@pytest.mark.parametrize("emotion", EMOTIONS)
@pytest.mark.parametrize("set_name", ["valid", "test"])
def test_less_than_a_fifth_of_the_content_words_are_in_the_training_events_of_the_emotion(corpus, set_name, emotion):
    words = content_words(of(corpus, set_name, emotion))
    assert len(words & content_words(of(corpus, "train", emotion))) < 0.2 * len(words)


def test_no_topic_is_in_two_sets(corpus):
    topics = {(event.topic, event.emotion): event.set_name for event in corpus}
    assert all(topics[event.topic, event.emotion] == event.set_name for event in corpus)


def test_every_event_is_told_twice_in_one_tone_and_no_voice_is_in_two_sets():
    script = """
from collections import Counter
from make_corpus import VOICES, plan
from whisper_er.config import SAMPLE_RATE
utterances = plan()
assert len({utterance.utt_id for utterance in utterances}) == len(utterances) == 960
assert set(Counter(utterance.event.event_id for utterance in utterances).values()) == {2}
tones = {(prosody.rate, prosody.volume, prosody.pitch_range) for prosody in (u.line.prosody for u in utterances)}
assert len(tones) == 1
names = [voice.name for voices in VOICES.values() for voice in voices]
assert len(set(names)) == len(names)
assert {v.voice for v in VOICES["test"]}.isdisjoint(v.voice for v in VOICES["train"] + VOICES["valid"])
for voices in VOICES.values():
    assert {voice.gender for voice in voices} == {"male", "female"}
share = Counter((utterance.voice.name, utterance.event.emotion) for utterance in utterances)
for name in names:  # a voice tells as many events of one emotion as of another
    numbers = [share[name, emotion] for emotion in ("happy", "sad", "angry", "fearful")]
    assert max(numbers) - min(numbers) <= 1, name
"""
    subprocess.run([sys.executable, "-c", script], cwd=LOCAL, check=True)


def test_the_same_line_gives_the_same_two_to_five_seconds_every_time_and_each_voice_sounds_its_own_way():
    script = """
from make_corpus import VOICES, Utterance, plan
from espeak import speak
from whisper_er.config import SAMPLE_RATE
event = plan()[0].event
sounds = [speak(Utterance(event, voice).line) for voices in VOICES.values() for voice in voices]
assert (speak(plan()[0].line) == sounds[0]).all()
assert len({sound.tobytes() for sound in sounds}) == 7
for sound in sounds:
    assert 2 < len(sound) / SAMPLE_RATE < 5
    assert 0.05 < abs(sound / 32768).max() < 0.99
"""
    subprocess.run([sys.executable, "-c", script], cwd=LOCAL, check=True)
