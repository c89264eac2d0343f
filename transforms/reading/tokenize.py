"""Token ids and loss masks, with the base model's own tokenizer and chat template.

Loss falls on what the assistant says and on the token that ends its turn; everything else is context. Where an answer begins and ends is
found in the rendered text, and from there, by the tokens' character offsets, in the tokens: a token that straddles the beginning counts
as answer (tokenising the prompt alone would give other tokens there).

A turn is what the template makes one. A text that spells out a control token of the template would become that token, and could end its turn
and speak for the assistant, so its row is rejected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.pvalue import PCollection

from versatune.schemas.arrow import TOKEN_FIELDS
from versatune.schemas.dataset import TokenizerRecord
from versatune.transforms.chat.frames import Scored
from versatune.transforms.chat.report import make_chat, template_record
from versatune.transforms.chat.shipped import proposals
from versatune.transforms.chat.verdict import NO_LOSS_TOKENS, CannotTokenize
from versatune.transforms.reading.tokenization import Tokenization
from versatune.transforms.transport.batch import Batch, example_payloads, rejected_rows, with_rejects
from versatune.transforms.transport.messages import Turn, conversations

STAGE = "tokenize"
_CHARS_PER_TOKEN = 64  # a text is cut here before it is tokenized, where that is more than enough for max_tokens

Span = tuple[int, int]


class Tokenized(NamedTuple):
    """What became of a batch."""

    examples: pa.RecordBatch
    """The rows that have something to learn, with ``versatune.schemas.arrow.TOKEN_FIELDS``."""
    rejects: pa.RecordBatch
    """Rows of ``versatune.schemas.arrow.REJECT``; their payload is the conversation as JSON."""
    counts: Counter[str]
    """Rows among the examples by what there is to say of them (TEMPLATE_COUNTS)."""


class Tokens(NamedTuple):
    """One conversation as it is learned."""

    ids: np.ndarray
    """(n,) int32."""
    mask: np.ndarray
    """(n,) bool, true where the token is learned."""
    cut: int
    """Tokens that were cut off at the limit; of a text too long to be tokenized whole, those of its beginning alone."""
    counts: frozenset[str] = frozenset()
    """What there is to say of the row: keys of TEMPLATE_COUNTS."""


class Tokenizer:
    """A :class:`Tokenization` at work; one per process.

    Raises:
        ConfigError: a chat template is no Jinja, or does not come to an end.
    """

    def __init__(self, plan: Tokenization) -> None:
        from tokenizers import Tokenizer as Backend

        self._plan = plan
        self._backend = Backend.from_str(plan.tokenizer_json)
        added = self._backend.get_added_tokens_decoder().values()
        self._added = [token.content for token in added]
        self.chat = make_chat(plan, special=[token.content for token in added if token.special], added=self._added)

    def record(self) -> TokenizerRecord:
        """Return what the manifest says of tokenizer and chat template."""
        plan = self._plan
        begin_token = None if plan.prepended is None else self._backend.id_to_token(plan.prepended)
        return TokenizerRecord(
            name=plan.name,
            sha256=plan.sha256,
            chat_template_sha256=plan.chat_template_sha256,
            max_tokens=plan.max_tokens,
            template=template_record(self.chat, plan, self.chat.tried(), begin_token),
        )

    def proposed(self) -> list[str]:
        """Return the names of templates that come with versatune and write more than the chosen one."""
        return [template.name for template in proposals(self._added, self.chat.tried())]

    def encode(
        self, rows: list[list[Turn]], tools: Sequence[str | None], unlearned: Sequence[Sequence[int]]
    ) -> list[Tokens | CannotTokenize]:
        """Return the tokens of each conversation, or why it has none.

        Args:
            rows: the conversations.
            tools: of each.
            unlearned: of each the positions of turns that are context only.
        """
        scored: list[Scored | CannotTokenize] = []
        for row in zip(rows, tools, unlearned, strict=True):
            try:
                scored.append(self.chat.scored(*row))
            except CannotTokenize as verdict:
                scored.append(verdict)
        encodings = self._encodings([item.text for item in scored if not isinstance(item, CannotTokenize)])
        return [
            item
            if isinstance(item, CannotTokenize)
            else self._mask(next(encodings), item, document=row[0][0] == "text")
            for item, row in zip(scored, rows, strict=True)
        ]

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

    def _mask(self, encoding: Any, scored: Scored, *, document: bool) -> Tokens | CannotTokenize:
        limit, spans = self._plan.max_tokens, scored.spans
        ids = np.array(encoding.ids, np.int32)
        mask = tokens_in_spans(np.array(encoding.offsets, np.int64).reshape(-1, 2), spans)
        first = self._plan.prepended if document else None  # a chat begins as at inference: as its template has it
        if first is not None and (not len(ids) or ids[0] != first):
            ids, mask = np.insert(ids, 0, first), np.insert(mask, 0, False)
        if not mask[1:limit].any():  # position 0 has no token before it that could predict it
            found = f"none of the first {min(limit, len(ids))} tokens belongs to one of the {len(spans)} answers"
            return CannotTokenize(NO_LOSS_TOKENS, f"{found} (build.max_tokens is {limit})")
        mask[0] = False
        return Tokens(ids[:limit], mask[:limit], max(0, len(ids) - limit), scored.counts)


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
    return Tokenized(examples, _rejects(batch, verdicts), Counter(name for row in tokens for name in row.counts))


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
        tokenized = tokenize_batch(batch.examples, self._tokenizer)
        done = with_rejects(batch, tokenized.examples, tokenized.rejects)
        yield done._replace(counts=done.counts + tokenized.counts)
