"""A small tokenized dataset with a mixture, written without the pipelines: what the runner is handed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.records import TEMPLATE, manifest_of
from versatune.schemas.arrow import example_schema
from versatune.schemas.config import Config, MixerConfig
from versatune.schemas.dataset import DatasetManifest, Shard, TokenizerRecord
from versatune.schemas.files import sha256_bytes, sha256_file
from versatune.schemas.mixture import DatasetRef, DomainPlan, MixtureManifest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

DOMAINS = ("law", "code", "general")
MAX_TOKENS = 96
_SUBJECTS = (
    "contract",
    "function",
    "garden",
    "rent",
    "loop",
    "letter",
    "court",
    "list",
    "river",
    "judge",
    "stack",
    "cat",
)


class Workplace(NamedTuple):
    """A configuration and a mixture that go together."""

    config: Config
    mixture: MixtureManifest
    mixture_path: Path


def conversation(domain: str, number: int) -> tuple[str, str]:
    """A question and its answer; an answer depends on its domain only, so a small model can learn it."""
    subject = _SUBJECTS[number % len(_SUBJECTS)]
    answers = {"law": "The court held that it is void.", "code": "return left + right", "general": "Water the plants."}
    return f"{domain} {subject} {number}?", answers[domain] + " " + subject * (number % 3)


def encode(tokenizer: Any, question: str, answer: str) -> tuple[list[int], list[bool]]:
    """Token ids in the ChatML of the tiny model, and the mask of answer and end token."""
    prompt = tokenizer.encode(
        f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n", add_special_tokens=False
    )
    target = tokenizer.encode(f"{answer}<|im_end|>", add_special_tokens=False)
    ids, mask = prompt + target, [False] * len(prompt) + [True] * len(target)
    return ids[:MAX_TOKENS], mask[:MAX_TOKENS]


def write_shard(root: Path, tokenizer: Any, split: str, domain: str, numbers: range) -> Shard:
    """Write one Parquet file of conversations, and say what a manifest says about it."""
    pairs = [conversation(domain, n) for n in numbers]
    tokens = [encode(tokenizer, *pair) for pair in pairs]
    columns: dict[str, list[Any]] = {
        "id": [sha256_bytes(f"{domain}{n}".encode())[:32] for n in numbers],
        "messages": [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in pairs],
        "unlearned": [[]] * len(pairs),
        "source": ["own"] * len(pairs),
        "license": ["CC0-1.0"] * len(pairs),
        "tools": [None] * len(numbers),
        "rejected": [None] * len(numbers),
        "tags": [[]] * len(numbers),
        "num_chars": [len(q) + len(a) for q, a in pairs],
        "domain": [domain] * len(pairs),
        "domain_probs": [[1.0 / len(DOMAINS)] * len(DOMAINS)] * len(pairs),
        "undetermined": [False] * len(pairs),
        "input_ids": [ids for ids, _ in tokens],
        "loss_mask": [mask for _, mask in tokens],
        "num_tokens": [len(ids) for ids, _ in tokens],
        "num_loss_tokens": [sum(mask) for _, mask in tokens],
        "num_cut_tokens": [0] * len(pairs),
    }
    file = root / "data" / split / domain / f"{numbers.start:05d}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=example_schema(len(DOMAINS), tokenized=True)), file)
    return Shard(
        path=str(file.relative_to(root)),
        split=split,  # type: ignore[arg-type]
        domain=domain,
        rows=len(pairs),
        tokens=sum(columns["num_tokens"]),
        loss_tokens=sum(columns["num_loss_tokens"]),
        bytes=file.stat().st_size,
        sha256=sha256_file(file),
        licenses=["CC0-1.0"],
    )


def tokenizer_record(folder: Path) -> TokenizerRecord:
    """What a manifest says of a model's tokenizer."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return TokenizerRecord(
        name=folder.name,
        sha256=sha256_bytes(tokenizer.backend_tokenizer.to_str().encode()),
        chat_template_sha256=sha256_bytes(tokenizer.chat_template.encode()),
        max_tokens=MAX_TOKENS,
        template=TEMPLATE,
    )


@pytest.fixture(scope="session")
def dataset(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Shard]]:
    """Three domains: 20, 12 and 8 training rows in two shards each, 6 held-out rows each."""
    root = tmp_path_factory.mktemp("dataset")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_model)
    shards = []
    for domain, rows in zip(DOMAINS, (20, 12, 8), strict=True):
        shards.append(write_shard(root, tokenizer, "train", domain, range(rows // 2)))
        shards.append(write_shard(root, tokenizer, "train", domain, range(rows // 2, rows)))
        shards.append(write_shard(root, tokenizer, "validation", domain, range(100, 106)))
    manifest_of(shards, DOMAINS).write(root / "manifest.json")
    return root, shards


def mixture_of(
    root: Path, shards: list[Shard], where: Path, record: TokenizerRecord, **changes: Any
) -> MixtureManifest:
    """A mixture of these shards as ``where`` would hold it; ``changes`` replace fields."""
    weights = changes.pop("weights", [0.5, 0.3, 0.2])
    plan = []
    for domain, weight in zip(DOMAINS, weights, strict=True):
        mine = [s for s in shards if s.domain == domain and s.split == "train"]
        sizes = {unit: sum(getattr(s, unit) for s in mine) for unit in ("rows", "tokens", "loss_tokens")}
        shares = {"requested_weight": weight, "realised_weight": weight, "passes": 0.0}
        shares |= {"row_share": weight, "token_share": weight, "loss_token_share": weight}
        plan.append(DomainPlan(domain=domain, cap=2 * sizes["rows"], count=0, **sizes, **shares))
    fields: dict[str, Any] = {
        "created_at": "2026-01-01T00:00:00+00:00",
        "name": "tiny",
        "dataset": DatasetRef(path=os.path.relpath(root, where.parent), name="tiny", version="1", digest="d"),
        "dataset_digest": DatasetManifest.load(root / "manifest.json").digest,
        "tokenizer": record,
        "domains": list(DOMAINS),
        "shards": shards,
        "policy": "explicit",
        "unit": "rows",
        "budget": 12,
        "segments": 3,
        "shortfall": 0,
        "max_passes": 2.0,
        "on_shortfall": "shorten",
        "redraw": "fresh",
        "order": "interleave",
        "seed": 3,
        "plan": plan,
        "dropped_mass": 0.0,
        "mixer": MixerConfig(name="versatune_dynamic"),
        "probe_digest": None,
        "decision": {},
    }
    return MixtureManifest.create(**(fields | changes))


@pytest.fixture
def workplace(dataset: tuple[Path, list[Shard]], tiny_model: Path, tmp_path: Path) -> Callable[..., Workplace]:
    """A maker of configuration and mixture: ``workplace(train={...}, mixture={...}, name="x")``."""

    def make(
        train: dict[str, Any] | None = None, mixture: dict[str, Any] | None = None, name: str = "work"
    ) -> Workplace:
        root, shards = dataset
        path = tmp_path / name / "mixture" / "mixture.json"
        manifest = mixture_of(root, shards, path, tokenizer_record(tiny_model), **(mixture or {}))
        manifest.write(path)
        section = {
            "dtype": "float32",
            "device": "cpu",
            "global_batch_rows": 4,
            "micro_batch_rows": 2,
            "learning_rate": 3e-3,
            "checkpoint_steps": 1000,
            "reference": {"max_rows": 8, "epochs": 1, "evals_per_epoch": 2, "learning_rate": 1e-2, "lora": {"rank": 4}},
        }
        config = Config.model_validate(
            {
                "name": name,
                "output": str(tmp_path),
                "seed": 1,
                "taxonomy": {"domains": DOMAINS, "aliases": {}},
                "model": {"path": str(tiny_model)},
                "train": section | (train or {}),
            }
        )
        return Workplace(config, manifest, path)

    return make


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads help no model of this size, and the machine may have other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
