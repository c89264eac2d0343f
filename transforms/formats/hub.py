"""Datasets of the Hugging Face hub, or folders laid out like them, streamed by the ``datasets`` library."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

from versatune.schemas.config import HubConfig
from versatune.transforms.formats.arrow_values import refuse_equal_names
from versatune.transforms.formats.columnar import batch_rows
from versatune.transforms.formats.fault import FormatError
from versatune.transforms.transport.batch import RowFault

SCHEME = "hf://datasets/"
_ROWS_AT_ONCE = 256


class HubAddress(NamedTuple):
    """Which rows of which dataset, written ``hf://datasets/<id>@<revision>/<config>/<split>``."""

    id: str
    """``owner/name``, or a folder."""
    revision: str | None
    config: str | None
    split: str

    def __str__(self) -> str:
        revision, config = self.revision or "main", self.config or "default"
        return (
            f"{SCHEME}{quote(self.id)}@{quote(revision, safe='')}/{quote(config, safe='')}/{quote(self.split, safe='')}"
        )

    @classmethod
    def parse(cls, uri: str) -> HubAddress:
        """Read an address as it is written."""
        place, config, split = uri.removeprefix(SCHEME).rsplit("/", 2)
        identity, _, revision = place.rpartition("@")
        name = unquote(config)
        return cls(unquote(identity), unquote(revision), None if name == "default" else name, unquote(split))


def addresses(hub: HubConfig, directory: Path) -> tuple[HubAddress, HubAddress]:
    """Return the address as the books name it, and the one to open: they differ for a folder."""
    named = HubAddress(hub.id, hub.revision, hub.config, hub.split)
    folder = os.path.normpath(os.path.join(directory, os.path.expanduser(hub.id)))
    return named, named._replace(id=folder) if os.path.isdir(folder) else named


def hub_rows(address: HubAddress, max_row_bytes: int) -> Iterator[bytes | RowFault]:
    """Yield each row as a JSON object; media stay undecoded, and no code of the dataset is run.

    Raises:
        FormatError: no such dataset, configuration or split; no network.
    """
    import datasets
    import huggingface_hub

    huggingface_hub.utils.logging.set_verbosity_error()  # what it retries is said once, by the error below
    datasets.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    revision = None if os.path.isdir(address.id) else address.revision
    try:
        stream = datasets.load_dataset(
            address.id, name=address.config, split=address.split, revision=revision, streaming=True
        )
        for table in stream.with_format("arrow").iter(batch_size=_ROWS_AT_ONCE):
            refuse_equal_names(table.schema)
            for batch in table.to_batches():
                yield from batch_rows(batch, max_row_bytes)
    except FormatError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever the library, its file systems and its parsers raise
        found = " ".join(str(error).split())[:300] or type(error).__name__
        raise FormatError(
            f"the dataset cannot be read ({type(error).__name__}: {found}). Check the id, config, split and"
            " revision, the network, HF_TOKEN for a private one and HF_HUB_OFFLINE; or download it and name its files"
        ) from None
