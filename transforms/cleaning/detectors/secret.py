"""API keys, tokens and private keys, in the forms that their issuers publish."""

from __future__ import annotations

import re
from collections.abc import Iterator

from versatune.transforms.cleaning.detectors import private_key

_ASSIGNED = r"[\"'\\]{0,3}\s{0,3}(?:=>|:=|[:=>(,])\s{0,3}[\"'\\]{0,3}"  # in JSON, YAML, XML, shells, code
_KINDS = (
    r"(?:AKIA|ASIA)[A-Z0-9]{16}",  # AWS access key id
    rf"(?i:[a-z0-9_-]{{0,40}}?secret[_. -]?(?:access[_. -]?)?key){_ASSIGNED}(?P<aws>[A-Za-z0-9/+]{{40}})(?![A-Za-z0-9/+=])",
    rf"(?i:[a-z0-9_-]{{0,40}}?session[_. -]?token){_ASSIGNED}(?P<session>[A-Za-z0-9/+]{{100,2000}}={{0,2}})(?![A-Za-z0-9/+=])",
    r"gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_[A-Za-z0-9_]{82}",
    r"glpat-[A-Za-z0-9_-]{20,64}",
    r"xox[abeprs]-[A-Za-z0-9-]{20,250}|xapp-\d-[A-Za-z0-9-]{20,250}",  # Slack
    r"(?<=hooks\.slack\.com/services/)T[A-Z0-9]{6,12}/B[A-Z0-9]{6,12}/[A-Za-z0-9]{20,28}",
    r"AIza[A-Za-z0-9_-]{35}|GOCSPX-[A-Za-z0-9_-]{28}|ya29\.[A-Za-z0-9_-]{40,400}",  # Google
    r"sk-ant-[a-z0-9]{2,12}-[A-Za-z0-9_-]{60,140}|sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{40,200}|sk-[A-Za-z0-9]{48}",
    r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,247}",  # Stripe
    r"hf_[A-Za-z0-9]{34}",
    r"npm_[A-Za-z0-9]{36}|pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,1000}",
    r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}",  # SendGrid
    r"eyJ[A-Za-z0-9_-]{10,4000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{20,1000}",  # JSON Web Token
)
_TOKEN = re.compile(rf"(?<![A-Za-z0-9_-])(?:{'|'.join(_KINDS)})(?![A-Za-z0-9_-])")
# What every token has in it: looking for these is much faster than the expression.
_HINTS: tuple[str, ...] = (
    "AKIA",
    "ASIA",
    "ecret",
    "ECRET",
    "ession",
    "ESSION",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xox",
)
_HINTS += (
    "xapp-",
    "hooks.slack",
    "AIza",
    "GOCSPX-",
    "ya29.",
    "sk-",
    "sk_",
    "rk_",
    "hf_",
    "npm_",
    "pypi-",
    "SG.",
    "eyJ",
)
_FEWEST_DISTINCT = 10  # sk-xxxx... and AKIA0000... are how manuals write a key


def find(text: str) -> Iterator[tuple[int, int]]:
    """Yield where keys and tokens stand; not those that a manual makes up (``...EXAMPLE``, ``xxxx``)."""
    spans = list(private_key.find(text))
    if any(hint in text for hint in _HINTS):
        for match in _TOKEN.finditer(text):
            span = match.span(match.lastgroup or 0)
            token = text[slice(*span)]
            if any(start <= span[0] < end for start, end in spans):
                continue
            if len(set(token)) >= _FEWEST_DISTINCT and not token.upper().endswith(("EXAMPLE", "EXAMPLEKEY")):
                spans.append(span)
    yield from sorted(spans)
