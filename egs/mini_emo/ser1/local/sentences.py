"""The sentences of the corpus: templates x words, about 70 words in all.

"happy" and "angry" templates come in pairs with the same slots: nothing but the fixed words tells the two apart.
"plain" sentences are said both neutrally and sadly.
"""

import itertools
import random
import string

WORDS = {
    "thing": ["book", "cake", "car", "clock", "dog", "flower", "hat", "lamp", "letter", "picture", "table", "train"],
    "place": ["beach", "garden", "kitchen", "office", "river", "school", "station", "village"],
    "person": ["brother", "doctor", "father", "mother", "sister", "teacher"],
    "colour": ["black", "brown", "green", "red", "white", "yellow"],
    "time": ["again", "now", "this morning", "today", "tonight"],
}
TEMPLATES = {
    "happy": [
        "i love the {thing} {time}",
        "what a lovely {thing}",
        "my {person} won a {thing}",
        "great we got the {thing}",
        "it is wonderful to see the {thing}",
        "thank you for the {colour} {thing}",
    ],
    "angry": [
        "i hate the {thing} {time}",
        "what a terrible {thing}",
        "my {person} broke a {thing}",
        "stop we lost the {thing}",
        "it is awful to see the {thing}",
        "do not touch the {colour} {thing}",
    ],
    "plain": [
        "the {thing} is in the {place}",
        "my {person} is at the {place}",
        "we go to the {place} {time}",
        "i see a {colour} {thing}",
        "there is a {thing} at the {place}",
        "my {person} has a {colour} {thing}",
    ],
}


def shuffled_sentences(kind: str, rng: random.Random) -> list[str]:
    """Every sentence of a kind once, in random order, the templates taking turns for as long as they last."""
    by_template = []
    for template in TEMPLATES[kind]:
        slots = [slot for _, slot, _, _ in string.Formatter().parse(template) if slot]
        fillings = itertools.product(*(WORDS[slot] for slot in slots))
        sentences = [template.format(**dict(zip(slots, filling, strict=True))) for filling in fillings]
        rng.shuffle(sentences)
        by_template.append(sentences)
    rounds = itertools.zip_longest(*by_template)
    return [sentence for sentence in itertools.chain.from_iterable(rounds) if sentence]
