"""Control tokens that a chat template is likely to use, for one that comes without a tokenizer."""

from __future__ import annotations

import contextlib
import re

from versatune.transforms.chat.template import EndlessTemplate, Template
from versatune.transforms.chat.verdict import CannotTokenize

BOS, EOS = "<s>", "</s>"
"""What such a template is given as bos_token and eos_token."""
_USUAL = re.compile(
    r"<\|[^|<>\s'\"{}]{1,48}\|>"  # <|im_end|>
    r"|<｜[^｜<>\s'\"{}]{1,48}｜>"  # <｜User｜>
    r"|\[/?[A-Z][A-Z_]{2,}\]"  # [INST], [/TOOL_RESULTS]
    r"|\[\|/?\w+\|\]"  # [|assistant|]
    r"|</?(?:start|end)_of_\w+>"
    r"|<(?:bos|eos|[A-Z]+_TOKEN|SPECIAL_\d+|\w+:[be]os)>"
    r"|</?s>"
)
_ASKED = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]


def usual_tokens(source: str) -> list[str]:
    """Return what looks like a control token in a template, and in what it writes: some put their tokens together.

    Args:
        source: the template.
    """
    text = source
    with contextlib.suppress(CannotTokenize, EndlessTemplate):
        text += Template(source, {"bos_token": BOS, "eos_token": EOS}).render(_ASKED, prompt=True)
    return sorted(set(_USUAL.findall(text)))
