"""Load the newest trained model with transformers and let it answer: ``python examples/ask.py outputs/NAME [QUESTION]``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from versatune.schemas.pointer import read_pointer
from versatune.schemas.run import RunRecord

QUESTION = "What is a tenancy deposit for?"


def ask(home: Path, question: str) -> str:
    """Return the greedy answer of the newest model trained under ``home``, a configuration's output directory."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # the library has no types here
    file = read_pointer(home / "runs" / "latest.json", what="trained model", command="versatune train CONFIG")
    folder = file.parent / RunRecord.load(file).model
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = model.generate(**inputs, max_new_tokens=48, do_sample=False)
    return str(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)).strip()


if __name__ == "__main__":
    words = " ".join(sys.argv[2:]) or QUESTION
    print(f"> {words}\n{ask(Path(sys.argv[1]), words)}")
