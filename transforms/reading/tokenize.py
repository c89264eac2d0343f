"""Token ids and loss masks, with the base model's own tokenizer and chat template.

Loss falls on what the assistant says and on the token that ends its turn; everything else is context. Where an answer begins and ends is
found in the rendered text, and from there, by the tokens' character offsets, in the tokens: a token that straddles the beginning counts
as answer (tokenising the prompt alone would give other tokens there).

A turn is what the template makes one. A text that spells out a control token of the template would become that token, and could end its turn
and speak for the assistant, so its row is rejected.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import jinja2
import numpy as np
import orjson
import pyarrow as pa
from apache_beam.pvalue import PCollection

from versatune.schemas.arrow import TOKEN_FIELDS
from versatune.schemas.config import Config
from versatune.schemas.dataset import TokenizerRecord
from versatune.schemas.errors import ConfigError, DataError
from versatune.schemas.files import sha256_bytes
from versatune.schemas.model_fit import check_model_fit
from versatune.schemas.model_source import model_folder
from versatune.transforms.reading.number_marks import NumberMarks
from versatune.transforms.reading.template_turns import template_turns
from versatune.transforms.transport.batch import Batch, example_payloads, rejected_rows, with_rejects
from versatune.transforms.transport.messages import Turn, conversations
from versatune.transforms.transport.model_fetch import fetch_model
from versatune.transforms.transport.storage import read_bytes, replace_bytes

STAGE = "tokenize"
NO_LOSS_TOKENS = "no_loss_tokens"
TEMPLATE_ERROR = "template_error"
TEMPLATE_NOT_PREFIX_STABLE = "template_not_prefix_stable"
CONTROL_TOKEN_IN_TEXT = "control_token_in_text"
TEMPLATE_WITHOUT_TOOLS = "template_without_tools"
TOKENIZE_REASONS = {
    NO_LOSS_TOKENS: "none of the first build.max_tokens tokens belongs to an answer",
    TEMPLATE_ERROR: "the chat template refuses the conversation",
    TEMPLATE_NOT_PREFIX_STABLE: "the answers cannot be found in what the chat template makes of the conversation",
    CONTROL_TOKEN_IN_TEXT: "a text spells out a control token of the chat template, which could forge a turn",
    TEMPLATE_WITHOUT_TOOLS: "the conversation calls tools, and the chat template does not write such calls",
}
_CHARS_PER_TOKEN = 64  # a text is cut here before it is tokenized, where that is more than enough for max_tokens
# Templates that print today's date get the day that their own authors fall back to, so a row does not depend on when it is built.
_TEMPLATE_DATE = datetime(2024, 7, 26, tzinfo=UTC)
_ADDED_BY_FILE = ("PreTrainedTokenizerFast", "TokenizersBackend")
_DETAIL_CHARS = 160
_PROBE = "versatune_probe"  # the name of a tool that no template writes by itself

Span = tuple[int, int]


class CannotTokenize(Exception):  # noqa: N818  # it is a verdict on one row, not a failure
    """One row is rejected."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Tokenized(NamedTuple):
    """What became of a batch."""

    examples: pa.RecordBatch
    """The rows that have something to learn, with ``versatune.schemas.arrow.TOKEN_FIELDS``."""
    rejects: pa.RecordBatch
    """Rows of ``versatune.schemas.arrow.REJECT``; their payload is the conversation as JSON."""


class Tokens(NamedTuple):
    """One conversation as it is learned."""

    ids: np.ndarray
    """(n,) int32."""
    mask: np.ndarray
    """(n,) bool, true where the token is learned."""
    cut: int
    """Tokens that were cut off at the limit; of a text too long to be tokenized whole, those of its beginning alone."""


@dataclass(frozen=True)
class Tokenization:
    """A tokenizer, a template and a limit, as plain data: workers need neither the model folder nor its library's model code."""

    name: str
    tokenizer_json: str
    """The serialised form of the package ``tokenizers``."""
    chat_template: str
    special_tokens: dict[str, str]
    """What templates may name: bos_token, eos_token and so on."""
    prepended: int | None
    """Id of the begin-of-sequence token if the tokenizer itself puts one first; the template's own one is not doubled."""
    max_tokens: int

    def record(self) -> TokenizerRecord:
        """Return what the manifest says about it."""
        return TokenizerRecord(
            name=self.name,
            sha256=sha256_bytes(self.tokenizer_json.encode()),
            chat_template_sha256=sha256_bytes(self.chat_template.encode()),
            max_tokens=self.max_tokens,
        )

    def save(self, path: str) -> None:
        """Write it for the workers."""
        replace_bytes(path, orjson.dumps(asdict(self)))

    @classmethod
    def load(cls, path: str) -> Tokenization:
        """Read what :meth:`save` wrote."""
        return cls(**orjson.loads(read_bytes(path)))


def plan_tokenization(config: Config) -> Tokenization:
    """Load the base model's tokenizer and chat template.

    Raises:
        ConfigError: no model is configured, or its template file is missing.
        DataError: the model has no tokenizer, only a slow one, or no chat template; or tokens, weights and build.max_tokens do not fit together.
    """
    folder = model_folder(config, needed_for="build.tokenize", fetch=fetch_model)
    model = config.model
    assert model is not None  # model_folder() refuses such a configuration
    tokenizer = _load_tokenizer(folder, trust_remote_code=model.trust_remote_code)
    if not tokenizer.is_fast:
        raise DataError(
            f"model {model.path}: its tokenizer is not a fast one, which character offsets need; add a tokenizer.json"
        )
    if model.chat_template is not None:
        template = _read_template(config.resolve(model.chat_template))
    else:
        template = _own_template(tokenizer, model.path)
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    first = backend.encode("a").ids[0]
    tokenizer_json = backend.to_str()
    check_model_fit(folder, max_tokens=config.build.max_tokens, tokenizer_json=tokenizer_json)
    return Tokenization(
        name=Path(model.path).name,
        tokenizer_json=tokenizer_json,
        chat_template=template,
        special_tokens={
            name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)
        },
        prepended=first if first == tokenizer.bos_token_id else None,
        max_tokens=config.build.max_tokens,
    )


def load_tokenizer(folder: Path, *, trust_remote_code: bool) -> Any:
    """Return a folder's tokenizer, as transformers has it; what that raises is raised."""
    if (folder / "tokenizer.json").is_file() and _declared_class(folder) in _ADDED_BY_FILE:
        from transformers import PreTrainedTokenizerFast  # without AutoTokenizer, whose import loads torch: seconds

        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)


def _load_tokenizer(folder: Path, *, trust_remote_code: bool) -> Any:
    try:
        return load_tokenizer(folder, trust_remote_code=trust_remote_code)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"build.tokenize needs the package {error.name}: pip install 'versatune[train]', or set it to false"
        ) from None
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"model {folder}: no tokenizer can be loaded ({reason}); expected tokenizer.json and tokenizer_config.json."
            " Copy them there, or set build.tokenize to false."
        ) from error


def _declared_class(folder: Path) -> str:
    try:
        return str(json.loads((folder / "tokenizer_config.json").read_text()).get("tokenizer_class"))
    except (OSError, ValueError, AttributeError):
        return ""


def _read_template(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"model.chat_template: {path} cannot be read ({error}); expected a Jinja file") from None


def _own_template(tokenizer: Any, model: str) -> str:
    try:
        return str(tokenizer.get_chat_template())
    except ValueError:
        raise DataError(
            f"model {model}: its tokenizer has no chat template; give one as model.chat_template (a Jinja file),"
            " or set build.tokenize to false"
        ) from None


class Tokenizer:
    """A :class:`Tokenization` at work; one per process."""

    def __init__(self, plan: Tokenization) -> None:
        from tokenizers import Tokenizer as Backend
        from transformers.utils.chat_template_utils import render_jinja_template  # without torch: a light import

        self._render: Any = render_jinja_template  # sandboxed
        self._plan = plan
        self._backend = Backend.from_str(plan.tokenizer_json)
        self._special = tuple(t.content for t in self._backend.get_added_tokens_decoder().values() if t.special)
        self._control = self._control_tokens()
        self._knows_tools = self._writes_tool_calls()

    def _control_tokens(self) -> re.Pattern[str] | None:
        """Match the special tokens that make turns: those the template writes, and those that begin or end a sequence."""
        written = self._plan.chat_template
        with contextlib.suppress(CannotTokenize):  # a template may also put a token's text together
            written += self.render([_message("user", "a"), _message("assistant", "a")], prompt=True)
        named = self._plan.special_tokens.values()
        control = sorted(token for token in self._special if token in written or token in named)
        return re.compile("|".join(map(re.escape, control))) if control else None

    def _writes_tool_calls(self) -> bool:
        """Say whether a call shows in what the template makes of it; one that knows nothing of calls leaves an empty answer."""
        call = [("user", "a"), ("tool_call", f'[{{"name":"{_PROBE}","arguments":{{}}}}]')]
        try:
            return _PROBE in self.render(template_turns(call, None)[0])
        except CannotTokenize:
            return False

    def _refuse_control_tokens(self, turns: list[Turn], tools: str | None) -> None:
        for number, (role, content) in enumerate([*turns, ("tools", tools or "")]):
            found = self._control.search(content) if self._control else None
            if found:
                detail = (
                    f"turn {number} ({role}) holds {found.group()} at character {found.start()}; expected plain text"
                )
                raise CannotTokenize(CONTROL_TOKEN_IN_TEXT, detail)

    def render(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None, *, prompt: bool = False
    ) -> str:
        """Return the text of a conversation; with ``prompt``, up to where the assistant begins to speak."""
        marks = NumberMarks()
        try:
            rendered = self._render(
                conversations=[[marks.put_into(turn) if "tool_calls" in turn else turn for turn in messages]],
                tools=marks.put_into(tools),
                chat_template=self._plan.chat_template,
                add_generation_prompt=prompt,
                strftime_now=_TEMPLATE_DATE.strftime,
                **self._plan.special_tokens,
            )
        except jinja2.TemplateError as error:
            detail = f"the chat template says: {str(error)[:_DETAIL_CHARS]}"
            raise CannotTokenize(TEMPLATE_ERROR, f"{detail} (roles: {_roles(messages)})") from None
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            detail = f"the chat template fails with {type(error).__name__}"
            raise CannotTokenize(TEMPLATE_ERROR, f"{detail} (roles: {_roles(messages)})") from None
        return marks.undone(str(rendered[0][0]))

    def scored(
        self, turns: list[Turn], tools: str | None = None, unlearned: Sequence[int] = ()
    ) -> tuple[str, list[Span]]:
        """Return the text to tokenize, and the spans of characters that are learned; those of turns that are context only are not."""
        self._refuse_control_tokens(turns, tools)
        if turns[0][0] == "text":  # a document: all of it, and its end
            text = turns[0][1] + self._plan.special_tokens.get("eos_token", "")
            return text, [(0, len(text))]
        if not self._knows_tools and any(role == "tool_call" for role, _ in turns):
            raise CannotTokenize(
                TEMPLATE_WITHOUT_TOOLS,
                "the chat template writes nothing of a tool call; use a model whose template does",
            )
        text, spans = self._answers(turns, tools)
        if unlearned:
            spans = [span for span, number in zip(spans, _acts(turns), strict=True) if number not in unlearned]
        return text, spans

    def _answers(self, turns: list[Turn], tools: str | None) -> tuple[str, list[Span]]:
        """Return what :meth:`answers` does; a template that refuses the calls' own ids (Mistral's) gets numbers in their place."""
        try:
            return self.answers(*template_turns(turns, tools))
        except CannotTokenize as refusal:
            if refusal.reason != TEMPLATE_ERROR or not any(role == "tool_call" for role, _ in turns):
                raise
            return self.answers(*template_turns(turns, tools, own_ids=False))

    def answers(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None
    ) -> tuple[str, list[Span]]:
        """Return the rendered conversation and the character span of each answer, its end-of-turn token included."""
        text = self.render(messages, tools)
        spans: list[Span] = []
        for i, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self.render(messages[:i], tools, prompt=True)
            after = text if i + 1 == len(messages) else self.render(messages[: i + 1], tools)
            if not (after.startswith(before) and text.startswith(after)):
                return text, self._locate(text, messages, tools)
            spans.append((len(before), len(before) + _answer_length(after[len(before) :], message)))
        return text, spans

    def _locate(self, text: str, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> list[Span]:
        """Find the answers for templates that write a turn otherwise once others follow it.

        The same turns with a mark for each content show what the template itself writes; a search for the contents alone would find
        a short answer in the template's words.
        """
        if any("tool_calls" in message for message in messages):
            raise _unlocated(messages)
        marks = [f"\ue000{i}\ue001" for i in range(len(messages))]
        marked = [{**message, "content": mark} for message, mark in zip(messages, marks, strict=True)]
        frame = self.render(marked, tools)
        spans, position = [], 0
        for message, mark in zip(messages, marks, strict=True):
            content = message["content"]
            own, found, frame = frame.partition(mark)
            start = position + len(own)
            said = content if text.startswith(content, start) else content.strip()
            if not (found and said and text.startswith(own, position) and text.startswith(said, start)):
                raise _unlocated(messages)
            position = start + len(said)
            if message["role"] == "assistant":
                end = next((token for token in self._special if text.startswith(token, position)), "")
                spans.append((start, position + len(end)))
        if text[position:] != frame:
            raise _unlocated(messages)
        return spans

    def encode(
        self, rows: list[list[Turn]], tools: Sequence[str | None], unlearned: Sequence[Sequence[int]]
    ) -> list[Tokens | CannotTokenize]:
        """Return the tokens of each conversation, or why it has none.

        Args:
            rows: the conversations.
            tools: of each.
            unlearned: of each the positions of turns that are context only.
        """
        rendered: list[tuple[str, list[Span]] | CannotTokenize] = []
        for row in zip(rows, tools, unlearned, strict=True):
            try:
                rendered.append(self.scored(*row))
            except CannotTokenize as verdict:
                rendered.append(verdict)
        encodings = self._encodings([item[0] for item in rendered if not isinstance(item, CannotTokenize)])
        return [item if isinstance(item, CannotTokenize) else self._mask(next(encodings), item[1]) for item in rendered]

    def _encodings(self, texts: list[str]) -> Iterator[Any]:
        """Encode texts, of huge ones only as much as max_tokens needs twice over: a whole book takes gigabytes."""
        limit = self._plan.max_tokens
        enough = limit * _CHARS_PER_TOKEN
        encodings = self._backend.encode_batch([text[:enough] for text in texts], add_special_tokens=False)
        for text, encoding in zip(texts, encodings, strict=True):
            if len(text) > enough and len(encoding.ids) < 2 * limit:
                yield self._backend.encode(text, add_special_tokens=False)
            else:
                yield encoding

    def _mask(self, encoding: Any, spans: list[Span]) -> Tokens | CannotTokenize:
        limit = self._plan.max_tokens
        ids = np.array(encoding.ids, np.int32)
        mask = tokens_in_spans(np.array(encoding.offsets, np.int64).reshape(-1, 2), spans)
        first = self._plan.prepended
        if first is not None and (not len(ids) or ids[0] != first):
            ids, mask = np.insert(ids, 0, first), np.insert(mask, 0, False)
        if not mask[1:limit].any():  # position 0 has no token before it that could predict it
            found = f"none of the first {min(limit, len(ids))} tokens belongs to one of the {len(spans)} answers"
            return CannotTokenize(NO_LOSS_TOKENS, f"{found} (build.max_tokens is {limit})")
        mask[0] = False
        return Tokens(ids[:limit], mask[:limit], max(0, len(ids) - limit))


def _message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def _unlocated(messages: list[dict[str, Any]]) -> CannotTokenize:
    detail = "the chat template changes the contents, or writes something else around them, once other turns follow"
    return CannotTokenize(TEMPLATE_NOT_PREFIX_STABLE, f"{detail} (roles: {_roles(messages)})")


def _acts(turns: Sequence[Turn]) -> Iterator[int]:
    """Yield for each turn of the template that is the assistant's the number of the first of ours in it; a call joins what was said before it."""
    before = ""
    for number, (role, _) in enumerate(turns):
        if role == "assistant" or (role == "tool_call" and before != "assistant"):
            yield number
        before = role


def tokens_in_spans(offsets: np.ndarray, spans: list[Span]) -> np.ndarray:
    """Say which tokens belong to an answer, (n,) bool.

    Args:
        offsets: (n, 2) int64, the characters [start, end) of each token.
        spans: the characters [start, end) of each answer. A token that straddles an end of one belongs to it.
    """
    mask = np.zeros(len(offsets), bool)
    starts, ends = offsets[:, 0], offsets[:, 1]
    for start, end in spans:
        empty_inside = (starts == ends) & (starts >= start)  # blanks that the tokenizer trims from its offsets
        mask |= ((ends > start) | empty_inside) & (starts < end)
    return mask


def _answer_length(region: str, message: dict[str, Any]) -> int:
    """Return how much of a rendered turn is scored: all but the template's own white space at its end."""
    content = message["content"]
    end = region.rfind(content) if content else -1
    spoken = end + len(content) if end >= 0 else 0
    return max(spoken, len(region.rstrip()))


def _roles(messages: list[dict[str, Any]]) -> str:
    return ", ".join(message["role"] for message in messages[:6]) + (", ..." if len(messages) > 6 else "")


def tokenize_batch(batch: pa.RecordBatch, tokenizer: Tokenizer) -> Tokenized:
    """Add token ids and loss masks to classified rows; rows without a scored token are rejected."""
    rows = conversations(batch)
    results = tokenizer.encode(rows, *(batch.column(name).to_pylist() for name in ("tools", "unlearned")))
    kept = [i for i, result in enumerate(results) if not isinstance(result, CannotTokenize)]
    verdicts = {i: result for i, result in enumerate(results) if isinstance(result, CannotTokenize)}
    tokens = [result for result in results if not isinstance(result, CannotTokenize)]
    examples = batch.take(pa.array(kept, pa.int64())) if verdicts else batch
    schema = pa.schema([*batch.schema, *TOKEN_FIELDS])
    examples = pa.RecordBatch.from_arrays([*examples.columns, *_token_columns(tokens)], schema=schema)
    return Tokenized(examples, _rejects(batch, verdicts))


def _token_columns(rows: list[Tokens]) -> list[pa.Array]:
    lengths = np.array([len(row.ids) for row in rows], np.int32)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    ids = pa.array(np.concatenate([row.ids for row in rows]) if rows else np.zeros(0, np.int32))
    mask = pa.array(np.concatenate([row.mask for row in rows]) if rows else np.zeros(0, bool))
    return [
        pa.ListArray.from_arrays(offsets, ids),
        pa.ListArray.from_arrays(offsets, mask),
        pa.array(lengths),
        pa.array(np.array([row.mask.sum() for row in rows], np.int32)),
        pa.array(np.array([row.cut for row in rows], np.int32)),
    ]


def _rejects(examples: pa.RecordBatch, verdicts: Mapping[int, CannotTokenize]) -> pa.RecordBatch:
    refused = examples.take(pa.array(list(verdicts), pa.int64()))
    return rejected_rows(
        refused.column("row"),
        refused.column("item"),
        stages=[STAGE] * len(verdicts),
        reasons=[verdict.reason for verdict in verdicts.values()],
        details=[verdict.detail for verdict in verdicts.values()],
        payloads=example_payloads(refused),
    )


@lru_cache(maxsize=2)
def shared_tokenizer(path: str) -> Tokenizer:
    """Load a saved :class:`Tokenization` once per process."""
    return Tokenizer(Tokenization.load(path))


@dataclass(kw_only=True)
class TokenizeMessages(beam.PTransform[PCollection[Batch], PCollection[Batch]]):
    """Classified batches in, the same with token ids and loss masks out; :func:`tokenize_batch` for each element."""

    path: str
    """Where :meth:`Tokenization.save` put it; workers read it from there."""

    def expand(self, batches: PCollection[Batch]) -> PCollection[Batch]:
        """Tokenize on every worker, with one tokenizer per process."""
        return batches | "TokenizeBatch" >> beam.ParDo(_TokenizeFn(self.path))


@beam.typehints.with_output_types(Batch)
class _TokenizeFn(beam.DoFn):
    def __init__(self, path: str) -> None:
        self._path = path

    def setup(self) -> None:
        """Load the tokenizer where the work is done."""
        self._tokenizer = shared_tokenizer(self._path)

    def process(self, batch: Batch) -> Iterator[Batch]:
        yield with_rejects(batch, *tokenize_batch(batch.examples, self._tokenizer))
