"""A judge that is a model folder, run by vLLM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from versatune.models.tokenizer import load_tokenizer
from versatune.schemas.errors import DataError
from versatune.transforms.engines.vllm_engine import VllmEngine, VllmSettings, local_settings
from versatune.transforms.labelling.ask import Answer
from versatune.transforms.labelling.judge import Choices

_MARK = "[[the text]]"
_PLAIN_END = "\nAnswer:"
_MIN_TEXT_TOKENS = 16


@dataclass(frozen=True, kw_only=True)
class Questions:
    """The questions as token ids: what is before and after the text, for each order of the codes, and the codes."""

    heads: tuple[tuple[int, ...], ...]
    tails: tuple[tuple[int, ...], ...]
    code_ids: tuple[int, ...]

    @property
    def overhead(self) -> int:
        """Tokens of the longest question, without a text."""
        return max(len(head) + len(tail) for head, tail in zip(self.heads, self.tails, strict=True))

    def text_tokens(self, wanted: int, context: int | None) -> int:
        """Return how many tokens of a text can be shown.

        Raises:
            DataError: the model's context has hardly any room for a text.
        """
        room = wanted if context is None else min(wanted, context - self.overhead - 1)
        if room < min(wanted, _MIN_TEXT_TOKENS):
            raise DataError(
                f"the judge's context is {context} tokens and the question takes {self.overhead}; too little is left for a text."
                " Take a model with a longer context, or shorten label.descriptions"
            )
        return room


def plan_questions(tokenizer: Any, choices: Choices, model: str) -> Questions:
    """Turn the questions into token ids, in the model's chat template if it has one.

    Before and after the text are encoded by themselves, so a text can neither end the turn nor change how the question is read.

    Raises:
        DataError: a code is not one token where the answer begins, or the chat template does not show the message.
    """
    heads, tails = [], []
    for rotation in choices.rotations:
        before, after = choices.question(rotation)
        head, tail = _rendered(tokenizer, before, after, model)
        heads.append((*_start(tokenizer), *_encode(tokenizer, head)))
        tails.append(tuple(_encode(tokenizer, tail)))
    spaced = ("", " ") if tokenizer.chat_template else (" ", "")
    end = _rendered(tokenizer, *choices.question(0), model)[1]
    tried = [_code_ids(tokenizer, end, choices.codes, space) for space in spaced]
    found = next((ids for ids in tried if len(set(ids) - {None}) == len(choices.codes)), None)
    if found is None:
        bad = choices.codes[tried[0].index(None)] if None in tried[0] else choices.codes
        raise DataError(
            f"judge {model}: its tokenizer does not write the answer '{bad}' as one token of its own, with or without a blank before"
            " it, so its probability cannot be read. Take another model, or ask it through an endpoint (--endpoint)"
        )
    return Questions(heads=tuple(heads), tails=tuple(tails), code_ids=tuple(id_ for id_ in found if id_ is not None))


def _rendered(tokenizer: Any, before: str, after: str, model: str) -> tuple[str, str]:
    """Return all that stands before the text, and all after it up to where the answer begins."""
    message = before + _MARK + after
    if not tokenizer.chat_template:
        return before, after + _PLAIN_END
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": message}],
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=False,  # of use to templates that know it, nothing to the others
    )
    head, mark, tail = text.partition(_MARK)
    if not mark or _MARK in tail:
        raise DataError(
            f"judge {model}: its chat template does not show the user's message once; give the model another"
        )
    return head, tail


def _encode(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _start(tokenizer: Any) -> list[int]:
    """Return what the tokenizer puts before plain text; a chat template writes that itself."""
    first = tokenizer("a")["input_ids"][:1]
    return first if not tokenizer.chat_template and first == [tokenizer.bos_token_id] else []


def _code_ids(tokenizer: Any, end: str, codes: str, space: str) -> list[int | None]:
    """Return the one token that each code adds to the end of the question; None where it is not one."""
    before = _encode(tokenizer, end)
    after = [_encode(tokenizer, end + space + code) for code in codes]
    return [ids[-1] if ids[:-1] == before else None for ids in after]


@dataclass(frozen=True, kw_only=True)
class LocalJudgePlan:
    """What a worker needs to start the judge."""

    settings: VllmSettings
    questions: Questions
    text_tokens: int
    """Of a text, the first so many are shown."""


class LocalJudge:
    """A judge that is ready.

    Attributes:
        about: the engine's own words.
    """

    def __init__(self, plan: LocalJudgePlan) -> None:
        """Start the engine; see :class:`versatune.transforms.engines.vllm_engine.VllmEngine`."""
        self._plan = plan
        settings = local_settings(plan.settings)
        self._tokenizer = load_tokenizer(Path(settings.model), trust_remote_code=False)
        self._engine = VllmEngine(settings)
        self.about = self._engine.about

    def ask(self, texts: Sequence[str]) -> list[Answer]:
        """Ask about each text in every order of the codes, all at once."""
        questions = self._plan.questions
        shown = text_ids(self._tokenizer, texts, self._plan.text_tokens)
        # Order by order, so that prompts with the same beginning come one after the other.
        prompts = [
            [*head, *ids, *tail] for head, tail in zip(questions.heads, questions.tails, strict=True) for ids in shown
        ]
        scores = [tuple(row) for row in self._engine.score(prompts, questions.code_ids)]
        return [
            Answer(tuple(scores[at :: len(texts)]), sum(map(len, prompts[at :: len(texts)])))
            for at in range(len(texts))
        ]


def text_ids(tokenizer: Any, texts: Sequence[str], limit: int) -> list[list[int]]:
    """Return the first tokens of each text; what looks like a control token in it is ordinary text."""
    # No tokenizer makes a token of more than a few dozen characters on average: the rest need not be encoded.
    cut = [text[: limit * 64] for text in texts]
    encoded = tokenizer(cut, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [list(ids[:limit]) for ids in encoded]
