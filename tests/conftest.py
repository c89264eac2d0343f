"""What tests of several packages share: the optional data of a developer's machine, the small real model, a tiny random one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from versatune.schemas.arrow import generation_schema
from versatune.schemas.files import sha256_file
from versatune.schemas.probe import Estimate, Look, ModelRecord, ProbeReport, Rounds, TokenShares, Unlabelled

ROOT = Path(__file__).resolve().parents[1]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the public corpora some tests read (VERSATUNE_SHARED_DATA); they are not part of the repository."""
    folder = Path(os.environ.get("VERSATUNE_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no corpora at {folder}: set VERSATUNE_SHARED_DATA to run this test")
    return folder


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """Folder of SmolLM2-135M-Instruct: VERSATUNE_TEST_MODEL, or the cached copy, made now if the extra `demo` is installed."""
    if "VERSATUNE_TEST_MODEL" in os.environ:
        return Path(os.environ["VERSATUNE_TEST_MODEL"])
    script = ROOT / "examples" / "smollm2.py"
    made = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"SmolLM2 cannot be prepared: {made.stderr.strip().splitlines()[-1]}")
    return Path(made.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random two-layer Llama (about 0.1 M parameters, float32) with a byte-level ChatML tokenizer of 512 entries.

    It knows nothing, yet it is a complete model folder: transformers and vLLM both load it. bos is <|im_start|> (1), eos <|im_end|> (2).
    """
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("tiny-model")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=_byte_level_bpe(),
        unk_token="<|endoftext|>",
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        model_max_length=512,
    )
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    config = transformers.LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def quickstart(tiny_model: Path) -> dict[str, Any]:
    """The configuration of the quickstart with a tiny model, to be read from any folder. Copy it before you change it."""
    value: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "quickstart.yaml").read_text())
    for source in value["sources"]:
        source["files"] = [str(ROOT / "examples" / file) for file in source["files"]]
    value["model"]["path"] = str(tiny_model)
    value["build"]["max_tokens"] = 512  # the tiny tokenizer needs more tokens
    return value


@pytest.fixture(scope="session")
def make_probe() -> Callable[..., Path]:
    """Write a probe's directory without a model and return its probe.json; see :func:`_make_probe`."""
    return _make_probe


def _make_probe(
    directory: Path,
    *,
    domains: Sequence[str] = ("law", "medicine", "finance", "science", "code", "general"),
    truth: Sequence[float] = (0.08, 0.1, 0.06, 0.16, 0.2, 0.4),
    samples: int = 120,
    per_round: int = 40,
    texts: Sequence[str] = ("A text about something.",),
    rejects: dict[str, int] | None = None,
    names: Sequence[str] = ("soft", "hard", "corrected", "em"),
    sharpness: float = 6.0,
    seed: int = 0,
    **fields: Any,
) -> Path:
    """Draw label probabilities around ``truth``; the last samples are left out, for the reasons in ``rejects``."""
    rng = np.random.default_rng(seed)
    k = len(domains)
    true = rng.choice(k, size=samples, p=np.array(truth) / sum(truth))
    weights = rng.gamma(0.3, size=(samples, k)) + 1e-9
    weights[np.arange(samples), true] += rng.gamma(sharpness, 0.3, samples)
    probabilities = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    reasons = [reason for reason, count in (rejects or {}).items() for _ in range(count)]
    reject = [""] * (samples - len(reasons)) + reasons
    counted = probabilities[: samples - len(reasons)].astype(np.float64)
    lengths = rng.integers(20, 97, samples)
    directory.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pydict(
        {
            "index": range(samples),
            "seed": range(samples),
            "text": [texts[i % len(texts)] for i in range(samples)],
            "num_tokens": lengths,
            "finish_reason": ["length" if n == 96 else "stop" for n in lengths],
            "reject": reject,
            "domain_probs": list(probabilities),
        },
        schema=generation_schema(k),
    )
    pq.write_table(table, directory / "generations.parquet")
    estimates = [_made_estimate(name, counted, shift) for shift, name in enumerate(names)]
    looks = []
    for number, end in enumerate(range(per_round, samples + per_round, per_round), 1):
        so_far = counted[:end]
        shares = so_far.mean(axis=0)
        change = float(np.abs(shares - looks[-1].shares).max()) if looks else None
        looks.append(
            Look(
                round=number, samples=min(end, samples), counted=len(so_far), shares=shares.tolist(),
                half_widths=(2.9 * so_far.std(axis=0) / np.sqrt(len(so_far))).tolist(), change=change, stop=end >= samples,
            )
        )  # fmt: skip
    hard = np.bincount(counted.argmax(axis=1), minlength=k)
    report = ProbeReport.create(**{
        "created_at": "2026-11-22T08:00:00+00:00",
        "environment": {"engine": ["vllm 0.32.0"], "device": ["cpu"], "tokens_per_second": 703.4, "generated": 80, "reused": 40},
        "domains": list(domains),
        "model": ModelRecord(name="SmolLM2-135M-Instruct", revision=None, weights_sha256="5a" * 32),
        "prompt_token_id": 1,
        "prompt_token": "<|im_start|>",
        "sampling": {"temperature": 1.0, "top_p": 1.0, "repetition_penalty": 1.0, "max_new_tokens": 96},
        "seed": 0,
        "rounds": Rounds(samples_per_round=per_round, min_rounds=1, max_rounds=len(looks), half_width=0.05, max_change=0.01),
        "looks": looks,
        "stopped_by": "budget",
        "samples": samples,
        "counted": len(counted),
        "rejected": rejects or {},
        "undetermined": int((counted.max(axis=1) < 0.45).sum()),
        "undetermined_below": 0.45,
        "finish_reasons": {"length": 1, "stop": samples - 1},
        "alpha": 0.05,
        "estimates": estimates,
        "refused": {},
        "unlabelled": Unlabelled(
            lower=(hard / samples).tolist(), upper=((hard + len(reasons)) / samples).tolist()
        ),
        "tokens": TokenShares(shares=counted.mean(axis=0).tolist(), mean_tokens=[58.5] * k, truncated=0.0123),
        "chosen": "soft",
        "classifier_sha256": "c1" * 32,
        "generations": "generations.parquet",
        "generations_sha256": sha256_file(directory / "generations.parquet"),
        **fields,
    })  # fmt: skip
    report.write(directory / "probe.json")
    return directory / "probe.json"


def _made_estimate(name: str, probabilities: Any, shift: int) -> Estimate:
    n, k = probabilities.shape
    shares = (
        np.bincount(probabilities.argmax(axis=1), minlength=k) / n if name == "hard" else probabilities.mean(axis=0)
    )
    if shift > 1:
        shares = shares ** (1 + 0.1 * shift)
        shares /= shares.sum()
    errors = np.sqrt(shares * (1 - shares) / n) * (1.4 if shift > 1 else 1.0)
    return Estimate(
        name=name, shares=shares.tolist(), standard_errors=errors.tolist(), sampling_errors=errors.tolist(),
        lower=(shares - 2.9 * errors).clip(0).tolist(), upper=(shares + 2.9 * errors).clip(0, 1).tolist(),
        covers="sampling and labels" if shift > 1 else "sampling",
    )  # fmt: skip


def _byte_level_bpe():
    """A byte-level BPE of exactly 512 entries, learnt from the sentences below: any text encodes, every run the same."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_SENTENCES, trainer)
    if tokenizer.get_vocab_size() != 512:
        raise AssertionError(tokenizer.get_vocab_size())
    return tokenizer


# Own sentences over the six domains; their only use is to give the tokenizer some merges.
_SENTENCES = [
    "The court held that the contract was void because one party had signed it under duress.",
    "A patient with a high fever and a stiff neck should be examined for meningitis without delay.",
    "The central bank raised its interest rate, and the price of government bonds fell at once.",
    "Water boils at a lower temperature on a mountain because the pressure of the air is lower there.",
    "def add(left, right):\n    return left + right\n\nprint(add(2, 3))  # five\n",
    "Please write a short letter to my neighbour and thank her for watering the plants.",
    "What is the capital of France? The capital of France is Paris, which lies on the river Seine.",
    "The tenant shall pay the rent on the first day of every month, and the landlord shall repair the roof.",
    "SELECT name, price FROM products WHERE price > 10 ORDER BY price DESC;",
    "The enzyme binds to its substrate, lowers the activation energy and is released unchanged.",
    "An investor who holds shares of many companies carries less risk than one who holds shares of one.",
    "Take one tablet in the morning and one in the evening, with a glass of water, for seven days.",
]
