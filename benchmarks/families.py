"""Is what was exported what was trained? Tiny models of every family, built for, trained in full and with LoRA, exported, and judged.

    python benchmarks/families.py                       # all, fp32 and bf16 files: about twenty minutes on one core
    python benchmarks/families.py --only qwen,llama     # families whose name begins like this
    python benchmarks/families.py --json out.json

The verdict is by transformers and peft alone: the base model with what the last checkpoint holds, beside the export as anybody loads it. An export
that is another model, or one trained on a loss that sees the answer, is silently wrong; nothing here asks versatune's own audit.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import peft
import torch
import transformers
from safetensors.torch import load_file

import versatune
from benchmarks.support.tiny_families import families, make

RIGHT, WRONG, REFUSED, CRASH = "right", "wrong", "refused", "crash"
WAYS = {"full": "float32", "lora": "float32", "full bf16": "bfloat16"}
"""Method, and the number format of the base model's files."""
_IDS = torch.arange(3, 19)[None]
_CLOSE = {"float32": 1e-3, "bfloat16": 0.05}
"""Largest difference of a logit, as a share of the largest logit where that is above 1: rounding to 16 bits moves logits of about 1 by 0.004, at most by 0.045."""


def main() -> None:
    """Sweep and print."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--only", default="")
    flags.add_argument("--json", type=Path)

    given = flags.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity(50)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    wanted = tuple(given.only.split(",")) if given.only else ("",)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as place:
        tokenizer = _tokenizer(Path(place) / "tokenizer")
        for family in families():
            if family.startswith(wanted):
                found[family] = sweep(family, Path(place) / "work", tokenizer)
                print(family, found[family].get("class", "-"), _in_words(found[family]), flush=True)
    report = {"versions": versions(), "families": found, "counts": counts(found)}
    print(json.dumps(report["counts"], indent=2))
    if given.json:
        given.json.write_text(json.dumps(report, indent=1) + "\n")


def sweep(family: str, work: Path, tokenizer: Path) -> dict[str, Any]:
    """Try one family in every way."""
    result: dict[str, Any] = {}
    started = time.monotonic()
    for way, dtype in WAYS.items():
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            result["class"] = make(family, work / "model", tokenizer, getattr(torch, dtype))
        except Exception as error:  # noqa: BLE001  # some kinds cannot be made small
            return {"not made": f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"}
        result[way] = _verdict(work, way.split()[0], dtype)
    result["seconds"] = round(time.monotonic() - started, 1)
    return result


def _verdict(work: Path, method: str, dtype: str) -> list[str]:
    """Train, and return the verdict and why."""
    try:
        run = _trained(work, method)
    except versatune.VersatuneError as error:
        return [REFUSED, " ".join(str(error).split())[:400]]
    except Exception as error:  # noqa: BLE001  # a fault of ours
        return [
            CRASH,
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]} {traceback.format_exc(limit=-1)[-200:]}",
        ]
    try:
        return _judged(work, run, method, dtype)
    except Exception as error:  # noqa: BLE001  # an export that nobody can load
        return [WRONG, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"]


def _trained(work: Path, method: str) -> Path:
    """Build, mix and train; return the run's directory."""
    rows = [{"instruction": f"What is {n} and {n + 1}?", "output": f"It is {n + n + 1}, as {n} is."} for n in range(24)]
    (work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "name": "sweep",
        "output": "out",
        "sources": [{"name": "one", "files": ["rows.jsonl"], "license": "CC0-1.0", "domain": "general"}],
        "model": {"path": "model"},
        "build": {"max_tokens": 96, "validation_fraction": 0.3, "workers": 1},
        "mix": {
            "policy": "explicit",
            "weights": {"general": 1.0},
            "budget": 8,
            "segments": 1,
            "mixer": {"name": "constant"},
        },
        "train": {
            "method": method,
            "dtype": "float32",
            "device": "cpu",
            "global_batch_rows": 4,
            "micro_batch_rows": 2,
            "learning_rate": 0.01 if method == "lora" else 0.001,
            "eval_rows_per_domain": 4,
        },
    }
    (work / "c.yaml").write_text(json.dumps(config))
    loaded = versatune.load_config(work / "c.yaml")
    versatune.build(loaded)
    versatune.mix(loaded)
    return Path(versatune.train(loaded)).parent


def _judged(work: Path, run: Path, method: str, dtype: str) -> list[str]:
    expected = _logits(_expected(work / "model", run, method))
    if apart := _sees_later(work / "model"):
        return [WRONG, f"trained although it sees the answer: logits change by {apart:.3g} when later tokens do"]
    exported = _load(run / "model")
    apart = float((_logits(exported) - expected).abs().max()) / max(1.0, float(expected.abs().max()))
    if not apart <= _CLOSE[dtype]:
        return [WRONG, f"logits of the export are off by {apart:.3g}"]
    formats = {
        t.dtype for f in (run / "model").glob("*.safetensors") for t in load_file(f).values() if t.is_floating_point()
    }
    base = {
        t.dtype for f in (work / "model").glob("*.safetensors") for t in load_file(f).values() if t.is_floating_point()
    }
    if formats != base:
        return [WRONG, f"number formats {sorted(map(str, formats))}, of the base {sorted(map(str, base))}"]
    lost = _names(work / "model") - _names(run / "model")
    if lost:
        return [WRONG, f"{len(lost)} tensors of the base are lost, such as {min(lost)}"]
    return [RIGHT, f"{apart:.2g}"]


def _expected(base: Path, run: Path, method: str) -> Any:
    """The base model with what the last checkpoint holds, by transformers and peft alone."""
    model = _load(base)
    if hasattr(model.config, "rescale_every"):
        model.config.rescale_every = 0  # RWKV divides its weights in place when it is evaluated
    if method == "lora":
        return peft.PeftModel.from_pretrained(model, str(run / "adapter"))
    stored = load_file(max((run / "checkpoints").glob("[0-9]*")) / "model.safetensors")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in stored:
                parameter.copy_(stored[name])
    return model


def _load(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def _logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=_IDS, use_cache=False).logits.float()


def _sees_later(base: Path) -> float:
    other = _IDS.clone()
    other[:, 10:] += 100
    model = _load(base)
    with torch.no_grad():
        one, two = (model.eval()(input_ids=ids, use_cache=False).logits[:, :10] for ids in (_IDS, other))
    apart = float((one - two).abs().max())
    return apart if apart > 1e-4 * float(one.abs().max()) else 0.0


def _names(folder: Path) -> set[str]:
    return {name for file in folder.glob("*.safetensors") for name in load_file(file)}


def counts(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Count verdicts by way."""
    made = {family: result for family, result in found.items() if "class" in result}
    return {
        "families": len(found),
        "made": len(made),
        **{way: dict(Counter(result[way][0] for result in made.values())) for way in WAYS},
    }


def versions() -> dict[str, str]:
    """Return what the figures depend on."""
    packages = ("transformers", "peft", "torch", "safetensors", "tokenizers")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def _in_words(result: dict[str, Any]) -> str:
    if "not made" in result:
        return f"not made ({result['not made'][:80]})"
    return "; ".join(
        f"{way} {result[way][0]}" + ("" if result[way][0] == RIGHT else f" ({result[way][1][:140]})") for way in WAYS
    )


def _tokenizer(folder: Path) -> Path:
    from tests.conftest import CHATML, _byte_level_bpe

    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=_byte_level_bpe(),
        unk_token="<|endoftext|>",  # noqa: S106  # no password
        bos_token="<|im_start|>",  # noqa: S106
        eos_token="<|im_end|>",  # noqa: S106
        pad_token="<|im_end|>",  # noqa: S106
        model_max_length=256,
    )
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main()
