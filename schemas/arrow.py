"""Arrow schemas of everything that is stored or moves between transforms."""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = 4

ORIGIN = pa.struct(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),  # 0-based, in the file
        pa.field("item", pa.int32(), nullable=False),  # 0 but for rows that give several examples
    ]
)
MESSAGES = pa.list_(
    pa.struct([pa.field("role", pa.string(), nullable=False), pa.field("content", pa.string(), nullable=False)])
)

NORMALIZED = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # 32 hex: 8 of the prompt, 24 of the whole content
        pa.field("messages", MESSAGES, nullable=False),
        pa.field(
            "unlearned", pa.list_(pa.int32()), nullable=False
        ),  # positions of assistant turns that are context only
        pa.field("tools", pa.string()),  # JSON list of the tools that may be called
        pa.field("rejected", pa.string()),  # the worse answer of a preference pair
        pa.field("tags", pa.list_(pa.string()), nullable=False),  # what cleaning found and left in
        pa.field("num_chars", pa.int32(), nullable=False),  # characters in all contents
        pa.field("row", pa.int64(), nullable=False),  # 0-based, within the split
        pa.field("item", pa.int32(), nullable=False),  # 0 but for rows that give several examples
    ]
)
"""Examples of one split on their way; what all of them share (source, licence, file) travels beside them."""

REJECT = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),  # within the split, as in NORMALIZED
        pa.field("item", pa.int32(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),  # read, normalize, clean, decontaminate, classify, tokenize
        pa.field("reason", pa.string(), nullable=False),  # snake_case, from a closed list per stage
        pa.field("detail", pa.string(), nullable=False),  # what was found and expected; never the row's text
        pa.field("payload", pa.binary(), nullable=False),  # the row as read; after cleaning: the example as JSON
    ]
)
"""Rejected rows of one split on their way."""

REJECT_FILE = pa.schema(
    [pa.field("source", pa.string(), nullable=False), pa.field("origin", ORIGIN, nullable=False), *list(REJECT)[2:]]
)

LINEAGE = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # of the example that the row became
        pa.field("source", pa.string(), nullable=False),
        pa.field("origin", ORIGIN, nullable=False),
        pa.field("fate", pa.string(), nullable=False),  # written, duplicate, near_duplicate
        pa.field("kept_id", pa.string(), nullable=False),  # of the example that stands for it in the dataset
    ]
)
"""Where every example came from and what became of it."""

TOKEN_FIELDS = [
    pa.field("input_ids", pa.list_(pa.int32()), nullable=False),
    pa.field("loss_mask", pa.list_(pa.bool_()), nullable=False),  # true where the token is trained on
    pa.field("num_tokens", pa.int32(), nullable=False),
    pa.field("num_loss_tokens", pa.int32(), nullable=False),
    pa.field("num_cut_tokens", pa.int32(), nullable=False),  # at least so many beyond the limit were cut off
]


def classified_fields(num_domains: int) -> list[pa.Field]:
    """Return the fields that classification adds to a row; probabilities are in taxonomy order."""
    return [
        pa.field("domain", pa.string(), nullable=False),
        pa.field("domain_probs", pa.list_(pa.float32(), num_domains), nullable=False),
        pa.field("undetermined", pa.bool_(), nullable=False),  # true where the domain cannot be relied on
    ]


def example_schema(num_domains: int, *, tokenized: bool) -> pa.Schema:
    """Return the schema of a shard's rows."""
    content = [field for field in NORMALIZED if field.name not in ("row", "item", "num_chars")]
    shared = [pa.field("source", pa.string(), nullable=False), pa.field("license", pa.string(), nullable=False)]
    fields = [*content, *shared, NORMALIZED.field("num_chars"), *classified_fields(num_domains)]
    return pa.schema(fields + (TOKEN_FIELDS if tokenized else []))


def generation_schema(num_domains: int) -> pa.Schema:
    """Return the schema of one kept generation of a base model."""
    return pa.schema(
        [
            pa.field("index", pa.int64(), nullable=False),  # sample number; with the run seed it fixes the sample
            pa.field("seed", pa.int64(), nullable=False),
            pa.field("text", pa.string(), nullable=False),
            pa.field("num_tokens", pa.int32(), nullable=False),
            pa.field("finish_reason", pa.string(), nullable=False),  # stop or length
            pa.field("reject", pa.string(), nullable=False),  # empty when the sample counts
            pa.field("domain_probs", pa.list_(pa.float32(), num_domains), nullable=False),
        ]
    )
