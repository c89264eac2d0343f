"""README.md of a dataset version: what people read, and the front matter by which ``datasets.load_dataset`` finds splits and domains."""

from __future__ import annotations

from typing import Any

import yaml

from schemas.dataset import SPLITS, DatasetManifest

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
_LARGER = "n>10M"


def dataset_card(manifest: DatasetManifest) -> str:
    """Return the card: one load configuration for everything (``default``) and one for each domain that has rows."""
    totals = {split: manifest.totals(split) for split in SPLITS}
    rows = {split: {domain: total["rows"] for domain, total in totals[split].items()} for split in SPLITS}
    domains = [domain for domain in manifest.taxonomy.domains if any(rows[split][domain] for split in SPLITS)]
    licenses = sorted({name for shard in manifest.shards for name in shard.licenses})
    front = {
        "pretty_name": manifest.name,
        "license": [name.lower() for name in licenses],
        "size_categories": [_size(sum(shard.rows for shard in manifest.shards))],
        "configs": [_load_config("default", "*", rows, domains), *(_load_config(d, d, rows, [d]) for d in domains)],
    }
    tokens = f", token ids and loss masks of {manifest.tokenizer.name}" if manifest.tokenizer else ""
    return "\n".join(
        [
            "---",
            yaml.safe_dump(front, sort_keys=False, allow_unicode=True).rstrip(),
            "---",
            "",
            f"# {manifest.name} {manifest.version}",
            "",
            f"Conversations with a domain each{tokens}. Made by versatune {manifest.code_version} on {manifest.created_at}.",
            "`manifest.json` pins every file; `rejects/` holds the rows that were left out, with the reason.",
            "",
            "```python",
            "import datasets",
            "",
            'datasets.load_dataset("PATH")  # everything',
            *([f'datasets.load_dataset("PATH", "{domains[0]}")  # one domain'] if domains else []),
            "```",
            "",
            "## Rows",
            "",
            _table(["domain", *SPLITS], [[domain, *(rows[split][domain] for split in SPLITS)] for domain in domains]),
            "",
            "## Books",
            "",
            "Every row that was read was written, is an exact duplicate of one that was, or was rejected.",
            "",
            _table(
                ["source", "read", "written", "duplicates", "rejected"],
                [
                    [book.source, book.read, sum(book.written.values()), book.duplicates, sum(book.rejected.values())]
                    for book in manifest.books
                ],
            ),
            "",
            "## Licences",
            "",
            *(f"- {name}" for name in licenses),
            "",
        ]
    )


def _load_config(name: str, folder: str, rows: dict[str, dict[str, int]], domains: list[str]) -> dict[str, Any]:
    """Name the files of the splits that have any: a pattern without files would make loading fail."""
    present = [split for split in SPLITS if any(rows[split][domain] for domain in domains)]
    return {
        "config_name": name,
        "data_files": [{"split": split, "path": f"data/{split}/{folder}/*.parquet"} for split in present],
    }


def _size(rows: int) -> str:
    return next((name for bound, name in _SIZES if rows < bound), _LARGER)


def _table(header: list[str], body: list[list[Any]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *body]
    return "\n".join(
        "| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in line) + " |" for line in lines
    )
