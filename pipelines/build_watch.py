"""How far a build is, by what its workers have written."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path

from versatune.pipelines.build_plan import BuildPlan, split_bytes
from versatune.pipelines.watch import watched
from versatune.schemas.progress import Progress
from versatune.transforms.shards.resume import fragments_directory
from versatune.transforms.transport.exchange import read_record
from versatune.transforms.transport.storage import is_local


def watched_build(plan: BuildPlan, progress: Progress) -> contextlib.AbstractContextManager[None]:
    """Tell the listener what has been written, while the engine works; on an object store nobody looks."""
    if not is_local(plan.staging):
        return contextlib.nullcontext()
    watch = _Watch(plan, progress)
    return watched(watch.look, progress)


class _Watch:
    """Counts what the workers have written: first input megabytes, then shards."""

    def __init__(self, plan: BuildPlan, progress: Progress) -> None:
        self._progress = progress
        self._fragments, self._shards = Path(fragments_directory(plan.staging)), Path(plan.staging) / "shards"
        self._planned = {split.key: split_bytes(split) for split in plan.splits}
        self._seen: set[str] = set()
        self._read: Counter[str] = Counter()
        self._rows = 0
        self._writing = False
        for fragment in plan.finished.fragments:  # of splits that are read again in part
            self._seen.add(f"{fragment.key}.json")
            if fragment.split in self._planned:
                self._planned[fragment.split] = max(0, self._planned[fragment.split] - fragment.raw_bytes)
        task = "read, classify and tokenize" if plan.tokenizer_path else "read and classify"
        progress.begin(task, sum(self._planned.values()) / 1e6 or None, "MB")

    def look(self) -> None:
        """Say where things are."""
        if self._shards.is_dir():
            self._look_at_shards()
            return
        for name in {path.name for path in self._fragments.glob("*.json")} - self._seen:
            with contextlib.suppress(OSError, ValueError):
                fragment = read_record(str(self._fragments / name))
                self._seen.add(name)
                self._read[fragment.split] += fragment.raw_bytes
                self._rows += fragment.rows + fragment.rejected
        done = sum(min(size, self._planned.get(key, 0)) for key, size in self._read.items())
        self._progress.advance_to(done / 1e6, f"{self._rows:,} rows")

    def _look_at_shards(self) -> None:
        names = [path.name for path in self._shards.glob("*-of-*.json")]
        if not names:
            return
        if not self._writing:
            self._writing = True
            self._progress.end()
            self._progress.begin("write shards", int(names[0].partition("-of-")[2].removesuffix(".json")), "buckets")
        self._progress.advance_to(len(names))
