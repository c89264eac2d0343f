"""What tests of several packages share: the optional data of a developer's machine, the small real model, a tiny random one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
