"""README.md of a dataset version: what people read, and the front matter by which ``datasets.load_dataset`` finds splits and domains."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from versatune.schemas.dataset import DECONTAMINATE, SPLITS, DatasetManifest
from versatune.schemas.visible import visible

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
_LARGER = "n>10M"
_FILES = (
    "`manifest.json` pins every file; `lineage/` says where every example comes from and what became of it; `rejects/` holds the rows"
    " that were left out, with the reason."
)
_BALANCE = (
    "Every row that was read, and every further example that a row held, was written, is a duplicate or near-duplicate of an example"
    " that was, or was rejected."
)
_SHOWN_CHARS = 2_000
_MARKUP = re.compile(r"[\\`*{}\[\]()<>#!|~&$]|(?<!\w)_|_(?!\w)")  # an underscore within a word means nothing


def dataset_card(manifest: DatasetManifest) -> str:
    """Return the card: one load configuration for everything (``default``) and one for each domain that has rows."""
    front = _yaml(front_matter(manifest))
    tokens = f", token ids and loss masks of {text(manifest.tokenizer.name)}" if manifest.tokenizer else ""
    rows = _rows(manifest)
    domains = _domains(rows)
    sections = [
        f"---\n{front}\n---",
        f"# {text(manifest.name)} {text(manifest.version)}",
        f"Examples with a domain each{tokens}. Made by versatune {text(manifest.code_version)} on {text(manifest.created_at)}.",
        _FILES,
        _loading(domains),
        "## Rows",
        _table(["domain", *SPLITS], [[domain, *(rows[split][domain] for split in SPLITS)] for domain in domains]),
        "## Books",
        _BALANCE,
        _books(manifest),
        *_section("Rejected", ["reason", "rows"], _total(book.rejected for book in manifest.books)),
        *_section("Cleaning", ["what", "count"], _cleaning(manifest)),
        *_decontamination(manifest),
        "## Licences",
        _licenses(manifest),
    ]
    return "\n\n".join(sections) + "\n"


def front_matter(manifest: DatasetManifest) -> dict[str, Any]:
    """Return what machines read of a card."""
    rows = _rows(manifest)
    domains = _domains(rows)
    return {
        "pretty_name": manifest.name,
        "license": sorted({" ".join(name.lower().split()) for shard in manifest.shards for name in shard.licenses}),
        "size_categories": [_size(sum(shard.rows for shard in manifest.shards))],
        "configs": [_load_config("default", "*", rows, domains), *(_load_config(d, d, rows, [d]) for d in domains)],
    }


def text(value: str) -> str:
    """Return text for a line or a table cell of Markdown: it shows as it is, whatever it holds."""
    shown = value if len(value) <= _SHOWN_CHARS else f"{value[:_SHOWN_CHARS]}…"
    return _MARKUP.sub(r"\\\g<0>", visible(" ".join(shown.split())))


def _yaml(value: dict[str, Any]) -> str:
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=2**16).rstrip()
    if visible(text) == text:
        return text
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=False, width=2**16).rstrip()  # escapes it


def _rows(manifest: DatasetManifest) -> dict[str, dict[str, int]]:
    return {split: {domain: total["rows"] for domain, total in manifest.totals(split).items()} for split in SPLITS}


def _domains(rows: dict[str, dict[str, int]]) -> list[str]:
    return [domain for domain in rows[SPLITS[0]] if any(rows[split][domain] for split in SPLITS)]


def _loading(domains: list[str]) -> str:
    one = [f'datasets.load_dataset("PATH", "{domains[0]}")  # one domain'] if domains else []
    return "\n".join(["```python", "import datasets", "", 'datasets.load_dataset("PATH")  # everything', *one, "```"])


def _books(manifest: DatasetManifest) -> str:
    parts = ("written", "duplicates", "near_duplicates", "rejected")
    body = [
        [text(book.source), book.read, book.expanded, *(sum(getattr(book, part).values()) for part in parts)]
        for book in manifest.books
    ]
    total = ["total", *(sum(row[column] for row in body) for column in range(1, 7))]
    header = ["source", "read", "further examples", "written", "duplicates", "near-duplicates", "rejected"]
    return _table(header, [*body, total] if len(body) > 1 else body)


def _cleaning(manifest: DatasetManifest) -> Counter[str]:
    counts = _total(book.counts for book in manifest.books)
    return Counter({name: rows for name, rows in counts.items() if not name.startswith(DECONTAMINATE)})


def _decontamination(manifest: DatasetManifest) -> list[str]:
    if manifest.decontamination is None:
        return []
    body = [[text(b.name), b.items, b.too_short, b.hits] for b in manifest.decontamination.benchmarks]
    return [
        "## Decontamination",
        "Rows that share text with these evaluation sets were rejected.",
        _table(["benchmark", "texts", "too short to look for", "rows rejected"], body),
    ]


def _licenses(manifest: DatasetManifest) -> str:
    """List each source's licences, with the rows that were written."""
    licenses: dict[str, set[str]] = {}
    for file in manifest.inputs:
        if not file.refused:
            licenses.setdefault(file.source, set()).add(file.license)
    body = [
        [text(book.source), ", ".join(map(text, sorted(licenses.get(book.source, ())))), sum(book.written.values())]
        for book in manifest.books
    ]
    return _table(["source", "licence", "rows written"], body)


def _total(parts: Iterable[dict[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return total


def _section(title: str, header: list[str], counts: Counter[str]) -> list[str]:
    if not counts:
        return []
    body = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [f"## {title}", _table(header, [[text(name), rows] for name, rows in body])]


def _load_config(name: str, folder: str, rows: dict[str, dict[str, int]], domains: list[str]) -> dict[str, Any]:
    """Name the files of the splits that have any: a pattern without files would make loading fail."""
    present = [split for split in SPLITS if any(rows[split][domain] for domain in domains)]
    return {
        "config_name": name,
        "data_files": [{"split": split, "path": f"data/{split}/{folder}/*.parquet"} for split in present],
    }


def _size(rows: int) -> str:
    return next((name for bound, name in _SIZES if rows < bound), _LARGER)


def _table(header: list[str], body: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *body]
    return "\n".join(
        "| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in line) + " |" for line in lines
    )
