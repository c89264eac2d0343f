"""Synthetic instruction rows: six subjects, about 1.2 KB of JSON each, some exact duplicates, in JSONL.gz files."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import random
from functools import partial
from pathlib import Path

FILES = 8
DUPLICATES = 0.08
SENTENCES_PER_ROW = (8, 22)
# Sentences are "<opening> <subject> <verb> <object> <ending>"; the words of one column fit those of the others.
SUBJECTS = {
    "law": ["the court", "a tenant", "the statute", "the appellant", "this contract", "the defendant", "a trustee"],
    "medicine": [
        "the patient",
        "a physician",
        "the vaccine",
        "chronic fever",
        "an antibiotic",
        "the biopsy",
        "a nurse",
    ],
    "finance": [
        "the bond",
        "an investor",
        "the central bank",
        "quarterly revenue",
        "a hedge fund",
        "the index",
        "the loan",
    ],
    "science": [
        "the enzyme",
        "a neutron star",
        "the reaction",
        "photosynthesis",
        "the magnetic field",
        "a glacier",
        "the cell",
    ],
    "code": [
        "def parse(line):",
        "the compiler",
        "a python list",
        "the SQL query",
        "this function",
        "an HTTP server",
        "the loop",
    ],
    "general": [
        "my neighbour",
        "the recipe",
        "a good story",
        "the garden",
        "our holiday",
        "the football team",
        "a letter",
    ],
}
OPENINGS = [
    "In most cases,",
    "As a rule,",
    "For this reason",
    "Before 1990,",
    "Under pressure",
    "Strictly speaking,",
    "On the whole,",
]
VERBS = [
    "changes",
    "requires",
    "does not affect",
    "was compared with",
    "depends on",
    "returns",
    "replaces",
    "precedes",
    "explains",
]
OBJECTS = [
    "the usual procedure",
    "a second opinion",
    "its own limits",
    "every later step",
    "the written record",
    "a lower bound",
]
ENDINGS = [
    "without exception.",
    "as shown above.",
    "if time allows.",
    "within a few days.",
    "at moderate cost.",
    "for both sides.",
]


def make_rows(folder: Path, rows: int, seed: int = 20250117) -> int:
    """Write the raw files, several at a time, and return the bytes of JSON in them; the same arguments give the same files."""
    folder.mkdir(parents=True)
    with multiprocessing.get_context("spawn").Pool() as pool:
        return sum(pool.map(partial(make_file, folder, rows, seed), range(FILES), chunksize=1))


def make_file(folder: Path, rows: int, seed: int, number: int) -> int:
    """Write one of the files; duplicates are of rows in the same file."""
    chance = random.Random(f"{seed}-{number}")
    recent: list[bytes] = []
    written = 0
    with gzip.open(folder / f"part-{number}.jsonl.gz", "wb", compresslevel=1) as stream:
        for row in range(rows * number // FILES, rows * (number + 1) // FILES):
            line = chance.choice(recent) if recent and chance.random() < DUPLICATES else make_row(chance, row)
            if len(recent) < 500:
                recent.append(line)
            stream.write(line)
            written += len(line)
    return written


def make_row(chance: random.Random, number: int) -> bytes:
    """Make one row about one subject; its number makes it unique."""
    subjects = SUBJECTS[chance.choice(list(SUBJECTS))]
    count = chance.randint(*SENTENCES_PER_ROW)
    columns = (chance.choices(words, k=count) for words in (OPENINGS, subjects, VERBS, OBJECTS, ENDINGS))
    sentences = [" ".join(words) for words in zip(*columns, strict=True)]
    question = f"Question {number}: what can be said about {chance.choice(subjects)} and {chance.choice(subjects)}?"
    return json.dumps({"instruction": question, "input": "", "output": " ".join(sentences)}).encode() + b"\n"
