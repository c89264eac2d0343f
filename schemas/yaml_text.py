"""YAML from anybody: a few lines of it must not stand for a billion values, nest without end, or say one thing twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from versatune.schemas.errors import ConfigError

_MOST_BYTES = 8 * 2**20
_DEEPEST = 100
_MOST_VALUES = 1_000_000
_BAD_VALUES = (ValueError, OverflowError, IndexError, TypeError, AttributeError, KeyError, RecursionError)
"""What the library raises on a date of the 99th month, a number of 5,000 digits, or a tag that does not fit its value."""


def read_yaml(file: Path) -> Any:
    """Read a local file.

    Raises:
        ConfigError: it cannot be read; see :func:`parse_yaml`.
    """
    try:
        with file.open("rb") as stream:
            text = stream.read(_MOST_BYTES + 1).decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{file}: no such configuration file; check the path, or copy one of examples/ to start from"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read ({error})") from None
    return parse_yaml(text, str(file))


def parse_yaml(text: str, where: str) -> Any:
    """Return what a YAML document says.

    Args:
        text: the document.
        where: what it is called in the message.

    Raises:
        ConfigError: not YAML; more than 8 MiB; more than 100 levels; aliases that stand for more than a million values, or for themselves; a
            key that is there twice.
    """
    if len(text) > _MOST_BYTES:
        raise ConfigError(f"{where}: has more than {_MOST_BYTES:,} bytes; expected a configuration of a few kilobytes")
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        why = str(error)
        if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:  # its text would quote the file
            mark = error.problem_mark
            why = f"{error.problem or error.context}, line {mark.line + 1}, column {mark.column + 1}"
        raise ConfigError(f"{where}: not YAML ({' '.join(why.split())})") from None
    except _BAD_VALUES as error:
        raise ConfigError(
            f"{where}: not YAML (a value that is not what it looks like or is tagged as: {' '.join(str(error).split())[:200]}); put it in quotes"
        ) from None


class _Loader(yaml.SafeLoader):
    """The library's own, with limits; what an alias stands for counts as often as it is used."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._level = self._values = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose one value and all in it."""
        mark, is_alias = self.peek_event().start_mark, self.check_event(yaml.AliasEvent)  # type: ignore[no-untyped-call]
        before = self._values
        self._level += 1
        if self._level > _DEEPEST:
            raise _problem(f"found more than {_DEEPEST} levels, one in another", mark)
        node = super().compose_node(parent, index)
        self._level -= 1
        if not is_alias:
            self._values += 1
            self._sizes[id(node)] = self._values - before
        elif id(node) not in self._sizes:
            raise _problem("found an alias that stands for what it is part of", mark)
        else:
            self._values += self._sizes[id(node)]
        if self._values > _MOST_VALUES:
            raise _problem(f"found aliases that stand for more than {_MOST_VALUES:,} values", mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        """Compose a mapping, each of whose keys is there once."""
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise _problem(f"found the key '{key.value[:60]}' a second time", key.start_mark)
                seen.add((key.tag, key.value))
        return node


def _problem(text: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=mark)
