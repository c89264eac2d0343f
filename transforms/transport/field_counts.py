"""In how many rows each field was used, or held text that was not: counts that add up, however rows are cut into batches."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_FIELDS = 200
"""Fields that are counted by name. Rows may have any names: of more, those with the shortest names (of equally long ones the
first by letter) keep theirs, so that neither the order of rows nor where a batch ends decides."""
MAX_NAME_CHARS = 100
USED, UNUSED, PROSE = range(3)
_PRUNED_AT = 4 * MAX_FIELDS


@dataclass
class FieldCounts:
    """What was counted of some rows of one source."""

    fields: dict[str, list[int]] = field(default_factory=dict)
    """By path: rows in which it was used, rows in which it holds text that was not, and of these the rows whose text has several words."""
    total: list[int] = field(default_factory=lambda: [0, 0, 0])
    """The sums over all paths, those without a name of their own here among them."""
    mapped: dict[str, int] = field(default_factory=dict)
    """By path of the source's field map: rows that have it; nothing where no row could be parsed."""

    def count(self, path: str, kind: int, rows: int = 1) -> None:
        """Count rows for a path."""
        self.total[kind] += rows
        counts = self.fields.get(path)
        if counts is None:
            counts = self._new(path)
        counts[kind] += rows

    def name(self, path: str) -> None:
        """Keep a path's name, though nothing is known of its rows."""
        if path not in self.fields:
            self._new(path)

    def _new(self, path: str) -> list[int]:
        counts = [0, 0, 0]
        if len(path) <= MAX_NAME_CHARS:
            if len(self.fields) >= _PRUNED_AT:
                self.prune()
            self.fields[path] = counts
        return counts

    def prune(self) -> None:
        """Forget all but the paths that keep their names. One that is forgotten is none of them in any larger number of rows either."""
        if len(self.fields) > MAX_FIELDS:
            kept = sorted(self.fields, key=lambda path: (len(path), path))[:MAX_FIELDS]
            self.fields = {path: self.fields[path] for path in kept}

    def add(self, other: FieldCounts) -> None:
        """Add what was counted of other rows."""
        for path, counts in other.fields.items():
            self.name(path)
            if path in self.fields:
                self.fields[path] = [mine + more for mine, more in zip(self.fields[path], counts, strict=True)]
        self.total = [mine + more for mine, more in zip(self.total, other.total, strict=True)]
        for path, rows in other.mapped.items():
            self.mapped[path] = self.mapped.get(path, 0) + rows
        self.prune()
