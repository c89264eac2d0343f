"""A billion rows are planned in less than a gigabyte, and each fragment costs the plan a few dozen bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
FRAGMENTS = 244_141  # of 4,096 rows: a billion
# Fragments pass as they come from the engine, one after the other; the peak is that of the whole process.
PLAN = """
import json, os, sys
from versatune.transforms.shards.plan_shards import plan_shards
from versatune.transforms.shards.shard_plan import load_plan, save_plan
from versatune.transforms.transport.exchange import Fragment, pack, unpack
from versatune.transforms.transport.field_counts import FieldCounts

count, per_split = int(sys.argv[1]), 14
splits = [f"{number:016x}" for number in range(-(-count // per_split))]

def arriving():
    for number in range(count):
        split, batch = divmod(number, per_split)
        yield unpack(pack(Fragment(
            key=f"{splits[split]}-{batch:06d}", source=f"source-{split % 20}", rows=4096, bytes=4096 * 1200, parts=64, rejected=1,
            rejected_bytes=500, domains=dict.fromkeys(("law", "medicine", "finance", "science", "code", "general"), 682),
            counts={"expanded": 1, "pii.email.masked": 3}, raw_bytes=4096 * 1300,
            fields=FieldCounts({name: [4096, 0, 0] for name in ("instruction", "input", "output")}, [12288, 0, 0]),
            file_bytes=(6_000_000, 3000, 1_900_000))))

records = [
    {"source": f"source-{number % 20}", "uri": f"raw/part-{number:06d}.jsonl.gz", "key": split, "part": 0, "license": "CC0-1.0",
     "rows": 4096 * per_split, "batches": min(per_split, count - number * per_split), "refused": ""}
    for number, split in enumerate(splits)
]
file = save_plan(plan_shards(arriving(), records, "/fragments", 128 * 2**20, ""), sys.argv[2])
plan = load_plan(file.path)
# Not getrusage: it holds the largest size of the process that started this one, too.
peak = int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) * 1024
print(json.dumps({
    "rss": peak, "bytes": os.path.getsize(file.path), "buckets": plan.buckets,
    "fragments": len(plan.table), "carried": len(repr(file))}))
"""


def test_a_billion_rows_are_planned_in_less_than_a_gigabyte(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PLAN, str(FRAGMENTS), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["fragments"], found["buckets"]) == (FRAGMENTS, 16384)
    assert found["rss"] < 10**9
    assert found["bytes"] < 100 * FRAGMENTS
    assert found["carried"] < 300 + len(str(tmp_path))  # what the engine brings to every worker
