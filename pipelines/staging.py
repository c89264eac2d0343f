"""A build's staging directory: named by what is built, so that a killed build finds its work again, and swept of all others."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from versatune.schemas.config import Config
from versatune.schemas.errors import DataError
from versatune.schemas.files import sha256_json
from versatune.transforms.classifier.fasttext_classifier import card_path
from versatune.transforms.shards.write_manifest import REJECTED
from versatune.transforms.transport.batch import InputSplit
from versatune.transforms.transport.storage import delete_tree, exists, is_local, match, replace_bytes

_STAGING = ".staging-"
_DIGITS = 12
_PART = r"part-\d{5}-of-\d{5}\.parquet"
_OF_A_VERSION = re.compile(
    rf"data/(train|validation)/[a-z0-9_]+/{_PART}|(lineage|rejects)/{_PART}|near_duplicates\.parquet"
    r"|(README\.md|manifest\.json)(\.[0-9a-f]{8}\.partial)?"
)
_OF_REJECTED = re.compile(_PART)


def staging_directory(config: Config, *identity: Any) -> str:
    """Return where a build works until it is published.

    Args:
        config: its rows, batches and parts of files are those of one staging directory only.
        identity: what else decides a fragment's bytes: code, classifier, tokenizer, repairs, benchmarks.
    """
    build = config.build
    key = sha256_json([config.build_fingerprint(), build.batch_rows, build.part_bytes, list(identity)])
    return f"{config.home}/{_STAGING}{key[:_DIGITS]}"


def stage_classifier(path: str | None, staging: str) -> str | None:
    """Return where the workers find the classifier: a local one, and its card, is copied beside remote output, where they can read it."""
    if path is None or not is_local(path) or is_local(staging):
        return path
    staged = f"{staging}/classifier/{Path(path).name}"
    for file, copy in ((path, staged), (card_path(path), card_path(staged))):
        if Path(file).is_file():
            replace_bytes(copy, Path(file).read_bytes())
    return staged


def sweep(config: Config, staging: str) -> None:
    """Delete what other builds left: their staging directories, rejected rows, a version that never got its manifest.

    A directory of such a name that holds anything else is somebody's data, and stays.
    """
    _delete_own(f"{config.home}/{REJECTED}", _OF_REJECTED)
    for leftover in _staging_directories(config.home):
        if leftover != staging:
            delete_tree(leftover)
    versions = [path.name for path in Path(config.home).glob("[0-9]*")] if is_local(config.home) else []
    for version in {*versions, *([config.build.version] if config.build.version else [])}:
        if not exists(f"{config.home}/{version}/manifest.json"):
            _delete_own(f"{config.home}/{version}", _OF_A_VERSION)


def check_inputs(config: Config, splits: Iterable[InputSplit]) -> None:
    """Refuse raw files that lie where this configuration's outputs go: a second build would read what the first one wrote.

    Raises:
        DataError: naming the first of them.
    """
    for split in splits:
        if split.location.startswith(f"{config.home}/"):
            raise DataError(
                f"source '{split.source}': {split.uri} lies in {config.home}, where this configuration's outputs go; a build does"
                " not read what builds wrote. Take it out of the source's files, or give 'output' a place outside of them"
            )


def _delete_own(directory: str, own: re.Pattern[str]) -> None:
    """Delete a directory if every file in it has a name that builds give."""
    if is_local(directory):
        if os.path.islink(directory):
            return
        files = [os.path.join(folder, name) for folder, _, names in os.walk(directory) for name in names]
    else:
        files = list(match(f"{directory}/**"))
    if all(own.fullmatch(file.removeprefix(f"{directory}/")) for file in files):
        delete_tree(directory)


def _staging_directories(home: str) -> list[str]:
    if is_local(home):
        return [str(path) for path in Path(home).glob(f"{_STAGING}*")]
    found = {path.partition(_STAGING)[2].partition("/")[0] for path in match(f"{home}/{_STAGING}*/**")}
    return [f"{home}/{_STAGING}{name}" for name in sorted(found)]
