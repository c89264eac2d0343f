"""Answers in which a model declines, or speaks of itself as a language model."""

from __future__ import annotations

import re
from collections import Counter

from versatune.transforms.cleaning.texts import answers
from versatune.transforms.shapes.base import Example, RowError

_SORRY = r"(?:(?:i['’]m|i am)(?: \w+){0,2} (?:sorry|afraid)|sorry|my apologies|i(?: \w+)? apologi[sz]e|unfortunately|regrettably)\b"
_UNABLE = r"(?:can(?:no|['’])?t|can not|(?:['’]m|am) (?:not able|unable) to|am not (?:capable|programmed)|won['’]t)"
_DO = (
    r"(?:help|assist|provide|fulfil|comply|answer|respond|generate|create|write|complete|engage|access|browse|discuss"
    r"|support|offer|share|perform|do that|process|determine|translate|summari|edit|view|see|hear|play|open)"
)
_MODEL = (
    r"(?:an? (?:ai|artificial intelligence)(?:[ -](?:powered|based))? (?:large )?(?:language )?"
    r"(?:model|assistant|chatbot|program)|a (?:large )?language model)\b"
)
# Who declines says I: "Unfortunately, you cannot open the window" tells of the window.
_REFUSALS = (
    rf"{_SORRY}[^.!?\n]{{0,60}}?\bi(?: \w+ly)? ?{_UNABLE} (?:\w+ ){{0,3}}?{_DO}",
    rf"{_SORRY},? (?:but )?(?:can(?:no|['’])?t|unable to|not able to) {_DO}",
    rf"{_SORRY},? (?:but )?(?:it is|it['’]s) (?:not possible|impossible|not appropriate) for me to {_DO}",
    rf"{_SORRY},? (?:but )?i(?:['’]m| am) (?:just |only |merely )?(?:{_MODEL}|an ai\b)",
    r"(?:i['’]m|i am)(?: \w+){0,2} sorry,? (?:but )?(?:as an ai|that goes against)",
    r"(?:i['’]m|i am)(?: \w+){0,2} sorry,? (?:but )?i (?:do not|don['’]t) (?:have (?:the|enough|any|access)|understand)",
    rf"i(?: \w+ly)? ?{_UNABLE} (?:\w+ ){{0,2}}?(?:(?:help|assist|provide) (?:you )?with|fulfil|comply with|engage in)",
    (
        r"(?:很|非常|十分|真的)?(?:抱歉|对不起|不好意思|遗憾)[，,。！! ]{0,2}[^。！？\n]{0,27}?"
        r"(?:我(?!们)|作为[^。！？，,\n]{0,8}(?:AI|人工智能|模型|助手|机器人))[^。！？\n]{0,12}?"
        r"(?:无法|不能|没有办法|没办法|不会|不具备)"
    ),
    r"我(?:无法|不能)(?:为您|为你|向您|向你)?(?:提供|回答|满足|完成|协助|帮助|执行|生成)",
)
_REFUSAL = re.compile(rf"\s*(?:{'|'.join(_REFUSALS)})", re.IGNORECASE)
# At the beginning of a clause, or before or behind an "I": Siri is sold as an AI assistant, and does not speak.
_LANGUAGE_MODEL = re.compile(
    rf"(?:(?:\A|[.!?,;:\n(\"“—–-]|\b(?:but|and|because|since|that|however|i))\s{{0,4}},?\s?as {_MODEL}"
    rf"|\bas {_MODEL},? (?:i|my)\b)"
    r"|作为(?:一个|一名|一款|一种)?(?:大型?)?(?:的)?(?:AI|人工智能|智能)?(?:的)?"
    r"(?:大?语言模型|自然语言处理模型|AI ?(?:助手|模型)|人工智能(?:助手|模型|程序))",
    re.IGNORECASE,
)


def drop_refusals(example: Example, _counts: Counter[str]) -> Example:
    """Reject an example with an answer that begins by declining, or that says "as an AI language model".

    Raises:
        RowError: it has one.
    """
    if any(is_refusal(text) for text in answers(example)):
        raise RowError("refusal", "an answer declines, or speaks of itself as a language model")
    return example


def is_refusal(text: str) -> bool:
    """Say whether an answer declines in its first sentence, or speaks of itself as a language model anywhere."""
    return _REFUSAL.match(text) is not None or _LANGUAGE_MODEL.search(text) is not None
