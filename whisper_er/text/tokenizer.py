"""Values <-> token ids: Whisper's vocabulary or a SentencePiece model's, extended by the tasks' tokens.

A target is built by concatenating ids and read back by id, never through strings: Whisper's own tokenizer is not told
of the added tokens, so a transcript that happens to contain `<|happy|>` stays text.
"""

from collections.abc import Sequence
from pathlib import Path

from whisper_er.base.errors import UserError
from whisper_er.task import Task
from whisper_er.text.token_list import LIST_FILE, TokenList, read_token_list
from whisper_er.text.vocabulary import DETECT, PREVIOUS, NoText, TextTokens, read_sentencepiece

UNLEARNED = -1
INCOMPLETE = "\ufffd"  # what the bytes of an incomplete character are decoded to


class Tokenizer:
    """The extended vocabulary: base ids first and unchanged, then the tokens of each task in order.

    Attributes: tasks, in the order of the target; task_ids[k], the ids of task k's labels (empty for text);
    size, entries in all.
    """

    def __init__(self, text: TextTokens, tasks: Sequence[Task], token_type: str, language: str) -> None:
        self.text, self.tasks, self.token_type, self.language = text, tuple(tasks), token_type, language
        self.prefix, self.end = text.prefix, text.end
        owner: dict[str, str] = {}
        self.task_ids: list[list[int]] = []
        for task in self.tasks:
            for token in task.tokens:
                holder = f"task '{owner[token]}'" if token in owner else "the base vocabulary"
                if token in owner or text.find(token) is not None:
                    raise UserError(
                        f"task '{task.name}': its token {token} is already a token of {holder}; rename the label"
                    )
                owner[token] = task.name
            first = text.size + sum(len(ids) for ids in self.task_ids)
            self.task_ids.append(list(range(first, first + len(task.labels))))
        self.size = text.size + len(owner)

    def prefix_in(self, language: str) -> list[int]:
        """The prefix with the token of another language; "": as it is. UserError where it has none."""
        if not language:
            return self.prefix
        if not self.text.multilingual:
            raise UserError(f"lang={language}: the prefix of this vocabulary names no language; leave lang empty")
        return self.text.prefix_in(language)

    def language_ids(self) -> list[int]:
        """Ids of the tokens of languages; UserError where the prefix names none."""
        if ids := self.text.language_ids():
            return ids
        raise UserError(f"lang={DETECT}: the prefix of this vocabulary names no language; leave lang empty")

    def check_language(self, language: str) -> None:
        """UserError for one that decoding cannot take: of Whisper's vocabulary "auto" or a code, of others none."""
        self.language_ids() if language == DETECT else self.prefix_in(language)

    def encode(self, values: dict[str, str], draw: int = 0) -> tuple[list[int], list[int]]:
        """Target of an utterance: token ids and, for each, the position of its task, or UNLEARNED.

        values: task name -> label or text; "" is "no label". A category without a label keeps its place, so that
        later tokens are learned at their places in decoding: the decoder reads the `draw`-th label and learns nothing.
        <|endoftext|> belongs to the last task (paper, eq. 6) and is left out with it. An empty text as the only task
        is a target of <|endoftext|> alone (eq. 5, I = 1): a table has no sign for a transcript that is missing.
        """
        ids: list[int] = []
        owners: list[int] = []
        for k, task in enumerate(self.tasks):
            value, owner = values[task.name], k
            if task.kind == "text":
                tokens = self.text.encode(value) if value else []
            elif value:
                tokens = [self.task_ids[k][task.index(value)]]
            else:
                tokens, owner = [self.task_ids[k][draw % len(task.labels)]], UNLEARNED
            only_text = task.kind == "text" and len(self.tasks) == 1
            if (value or only_text) and k == len(self.tasks) - 1:
                tokens = [*tokens, self.end]
            ids += tokens
            owners += [owner] * len(tokens)
        while owners and owners[-1] == UNLEARNED:
            ids.pop(), owners.pop()
        return ids, owners

    def encode_context(self, turns: Sequence[dict[str, str]], most: int) -> list[int]:
        """<|startofprev|> and the last `most` tokens of what was said before, in front of the prefix, as in Whisper's
        training; nothing where nothing was said.

        turns: oldest first, task -> text or label, of the tasks that are read. Of a turn first its text, then its
        labels in the order of the tasks; what is "" is left out. They may be answers of a model.
        """
        ids: list[int] = []
        in_order = sorted(range(len(self.tasks)), key=lambda k: self.tasks[k].kind != "text")
        for values in turns:
            for k in in_order:
                task, value = self.tasks[k], values.get(self.tasks[k].name)
                if value and task.kind == "text":
                    ids += self.text.encode_answer(value)
                elif value:
                    ids.append(self.task_ids[k][task.index(value)])
        return [self.text.find(PREVIOUS), *ids[-most:]] if ids and most > 0 else []

    def decode_text(self, ids: Sequence[int], cut: bool = False) -> str:
        """The text among the ids; task tokens and special tokens are not text.

        cut: whether it was ended by a bound. A token may be a part of a character; one that the bound broke is dropped.
        """
        text = self.text.decode([index for index in ids if index < self.text.num_text])
        text = text.rstrip(INCOMPLETE) if cut else text
        return " ".join(text.split())  # a line break among the tokens would not fit into a table

    def save(self, directory: Path) -> None:
        """Write token_list.yaml and the base tokenizer into an existing directory."""
        self.text.save(directory)
        TokenList(self.token_type, self.language, self.text.multilingual, self.text.size, self.tasks).write(directory)


def load_tokenizer(directory: Path) -> Tokenizer:
    """Read the files of Tokenizer.save; UserError where they are broken or do not fit each other."""
    token_list = read_token_list(directory)
    if token_list.token_type == "bpe":
        text: TextTokens = read_sentencepiece(Path(directory) / "bpe.model")
    elif token_list.token_type == "none":
        text = NoText()
    else:  # here: it brings transformers along, which the other vocabularies do without
        from whisper_er.text.whisper_vocabulary import read_whisper

        text = read_whisper(directory, token_list)
    if text.size != token_list.base_size:
        raise UserError(
            f"{directory}: {LIST_FILE} extends {token_list.base_size} tokens, but the vocabulary beside it has "
            f"{text.size}; run stage 2 again"
        )
    return Tokenizer(text, token_list.tasks, token_list.token_type, token_list.language)
