"""A build's staging directory: named by what is built, so that a killed build finds its work again, and swept of all others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schemas.config import Config
from schemas.files import sha256_json
from transforms.storage import delete_tree, exists, is_local, match
from transforms.write_manifest import REJECTED

_STAGING = ".staging-"
_DIGITS = 12


def staging_directory(config: Config, *identity: Any) -> str:
    """Return where a build works until it is published.

    Args:
        config: its rows, batches and parts of files are those of one staging directory only.
        identity: what else decides a fragment's bytes: code, classifier, tokenizer, repairs, benchmarks.
    """
    build = config.build
    key = sha256_json([config.build_fingerprint(), build.batch_rows, build.part_bytes, list(identity)])
    return f"{config.home}/{_STAGING}{key[:_DIGITS]}"


def sweep(config: Config, staging: str) -> None:
    """Delete what other builds left: their staging directories, rejected rows, a version that never got its manifest."""
    delete_tree(f"{config.home}/{REJECTED}")
    for leftover in _staging_directories(config.home):
        if leftover != staging:
            delete_tree(leftover)
    versions = [path.name for path in Path(config.home).glob("[0-9]*")] if is_local(config.home) else []
    for version in {*versions, *([config.build.version] if config.build.version else [])}:
        if not exists(f"{config.home}/{version}/manifest.json"):
            delete_tree(f"{config.home}/{version}")


def _staging_directories(home: str) -> list[str]:
    if is_local(home):
        return [str(path) for path in Path(home).glob(f"{_STAGING}*")]
    found = {path.partition(_STAGING)[2].partition("/")[0] for path in match(f"{home}/{_STAGING}*/**")}
    return [f"{home}/{_STAGING}{name}" for name in sorted(found)]
