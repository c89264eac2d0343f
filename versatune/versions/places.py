"""Files of versions, mixtures and runs on an object store: brought to this machine before a command reads them."""

from __future__ import annotations

from pathlib import Path

from versatune.schemas.progress import Progress
from versatune.schemas.remote import address_of, is_remote


def at_hand(folder: Path, *wanted: str, progress: Progress | None = None, exact: bool = False) -> None:
    """See that files of a folder are on this machine: nothing to do but for the mirror of a remote one.

    Args:
        folder: of the files.
        wanted: their names, or patterns as of :func:`versatune.transforms.transport.mirror.pull`.
        progress: told of the bytes that are fetched.
        exact: also delete what the remote folder has no longer.

    Raises:
        DataError: the remote folder cannot be listed.
        RunError: the connection broke, or the disk is too small.
    """
    address = address_of(folder)
    if is_remote(address):
        from versatune.transforms.transport.mirror import pull  # needs Beam: seconds

        pull(address, wanted, progress, exact=exact)
