"""A language model of two million weights, trained from scratch on given documents, for probe_recovery.py; run by it, one process a model.

    python benchmarks/support/tiny_model.py DOCUMENTS TOKENIZER OUTPUT --seed 0

Every document is a sequence of its own, begin-of-sequence to end-of-sequence: a probe's sample starts a document, so the model has to have
learned where documents start. Packing them one after another would teach it to start in their middle.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 2048
MAX_TOKENS = 96
"""Of a document, the first so many tokens are its text; the end-of-sequence token comes after them."""
_MARKS = "<s>", "</s>"
_BATCH = 16
_LEARNING_RATE = 3e-3
_WARM_UP = 0.05


def train_tokenizer(texts: Sequence[str], folder: Path) -> None:
    """Train a byte-level BPE tokenizer, which gives back any text as it was, and save it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(_MARKS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    marks = dict(zip(("bos_token", "eos_token"), _MARKS, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **marks).save_pretrained(
        folder
    )


def cut(texts: Sequence[str], tokenizer_folder: Path) -> list[str]:
    """Return what a model is shown of each text: its first 96 tokens."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, local_files_only=True)
    return [str(tokenizer.decode(tokenizer.encode(text)[:MAX_TOKENS])) for text in texts]


def train(texts: Sequence[str], tokenizer_folder: Path, output: Path, *, seed: int, epochs: int) -> dict[str, Any]:
    """Train and save a model with its tokenizer; return how it went."""
    torch.manual_seed(seed)
    chance = random.Random(seed)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, local_files_only=True)
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    sequences = [[bos, *tokenizer.encode(text)[:MAX_TOKENS], eos] for text in texts]
    model = LlamaForCausalLM(_config(bos, eos))
    steps = epochs * -(-len(sequences) // _BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, total_steps=steps, pct_start=_WARM_UP)
    mean_length = sum(map(len, sequences)) / len(sequences) - 1
    started, losses = time.monotonic(), []
    for epoch in range(epochs):
        total = 0.0
        for batch in _batches(sequences, chance):
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(input_ids=batch[:, :-1].clamp(min=0)).logits
            loss = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1).float(), batch[:, 1:].flatten(), ignore_index=-1, reduction="sum"
            )
            # A sum over a constant: every token weighs the same, whether its batch is one of long or of short documents.
            (loss / (_BATCH * mean_length)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
            total += loss.item()
        losses.append(round(total / (mean_length * len(sequences)), 4))
        print(
            f"epoch {epoch + 1}: {losses[-1]} nats a token, {time.monotonic() - started:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    output.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(output, safe_serialization=True)
    tokenizer.save_pretrained(output)
    return {
        "documents": len(texts),
        "tokens": sum(map(len, sequences)),
        "weights": sum(weight.numel() for weight in model.parameters()),
        "losses": losses,
        "seconds": round(time.monotonic() - started, 1),
    }


def _config(bos: int, eos: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=bos,
        eos_token_id=eos,
    )


def _batches(sequences: Sequence[Sequence[int]], chance: random.Random) -> Iterator[torch.Tensor]:
    """Yield all sequences once, those of like length together, padded with -1."""
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]) + 8 * chance.random())
    groups = [order[start : start + _BATCH] for start in range(0, len(order), _BATCH)]
    chance.shuffle(groups)
    for group in groups:
        rows = [torch.tensor(sequences[i]) for i in group]
        yield torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)


def main() -> None:
    """Train one model."""
    flags = argparse.ArgumentParser(description="Train a tiny language model from scratch.")
    flags.add_argument("documents", type=Path, help="JSON: a list of texts")
    flags.add_argument("tokenizer", type=Path)
    flags.add_argument("output", type=Path)
    flags.add_argument("--seed", type=int, required=True)
    flags.add_argument("--epochs", type=int, required=True)
    arguments = flags.parse_args()
    texts = json.loads(arguments.documents.read_text())
    about = train(texts, arguments.tokenizer, arguments.output, seed=arguments.seed, epochs=arguments.epochs)
    (arguments.output / "training.json").write_text(json.dumps(about))


if __name__ == "__main__":
    main()
