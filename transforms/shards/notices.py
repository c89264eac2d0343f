"""What a build found in the files of its sources: those that were refused, what was decided without being sure, and text that went unused."""

from __future__ import annotations

from collections.abc import Iterator

from versatune.schemas.dataset import DatasetManifest, InputFile
from versatune.schemas.licenses import say_unknown_licenses
from versatune.transforms.reading.field_use import unused_texts


def input_notices(manifest: DatasetManifest) -> dict[str, list[str]]:
    """Return by source what to know of its files, at most one line for each kind, the gravest first."""
    files: dict[str, list[InputFile]] = {book.source: [] for book in manifest.books}
    for file in manifest.inputs:
        files.setdefault(file.source, []).append(file)
    unused = dict(unused_texts(manifest.fields, {book.source: book.read for book in manifest.books}))
    return {source: list(_notices(source, of, unused.get(source))) for source, of in files.items()}


def _notices(source: str, files: list[InputFile], unused: str | None) -> Iterator[str]:
    refused = [file.refused for file in files if file.refused]
    if refused:
        yield f"refused: {refused[0]}{_more(len(refused))}"
    noted = [file for file in files if file.note]
    if noted:
        yield f"source '{source}': {noted[0].uri}: {noted[0].note}{_more(len(noted))}"
    if unused:
        yield f"source '{source}': {unused}: docs/your-data.md"
    yield from say_unknown_licenses(files)


def _more(number: int) -> str:
    return f" (and {number - 1:,} more of its files; see inputs in the manifest)" if number > 1 else ""
