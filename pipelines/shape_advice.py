"""What to do about files whose rows have no known shape: which field map would read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import orjson
import pyarrow.compute as pc
import pyarrow.dataset as ds

from versatune.schemas.dataset import DatasetManifest
from versatune.transforms.shapes.base import Row
from versatune.transforms.shapes.field_proposal import advice, propose_fields
from versatune.transforms.transport.storage import is_local

_REASON = "unknown_shape"
_FILES = 5
_ROWS = 50


def shape_advice(manifest: DatasetManifest, directory: str) -> Iterator[str]:
    """Yield a line for each file of which a large part has no known shape, the worst first; none for a version that is not local."""
    if not is_local(directory) or not any(book.rejected.get(f"normalize.{_REASON}") for book in manifest.books):
        return
    rejects = ds.dataset([f"{directory}/{file.path}" for file in manifest.rejects], format="parquet")
    unknown = pc.field("reason") == _REASON
    uris = rejects.to_table(columns={"uri": pc.field("origin", "uri")}, filter=unknown)["uri"].to_pylist()
    read = {file.uri: file.rows for file in manifest.inputs}
    worst = [(uri, rows) for uri, rows in Counter(uris).most_common() if rows * 2 > read[uri]]
    for uri, rows in worst[:_FILES]:
        of_file = rejects.head(_ROWS, columns=["payload"], filter=unknown & (pc.field("origin", "uri") == uri))
        samples = list(_objects(of_file["payload"].to_pylist()))
        yield f"{uri}: {rows:,} of {read[uri]:,} rows have no known shape. {advice(propose_fields(samples), samples)}"
    if len(worst) > _FILES:
        yield f"... and {len(worst) - _FILES} more files; `versatune inspect FILE` says what would read them"


def _objects(payloads: list[bytes]) -> Iterator[Row]:
    for payload in payloads:
        value = orjson.loads(payload)
        if isinstance(value, dict):
            yield value
