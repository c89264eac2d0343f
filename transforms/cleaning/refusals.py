"""Answers in which a model declines, or speaks of itself as a language model."""

from __future__ import annotations

import re
from collections import Counter

from transforms.cleaning.texts import answers
from transforms.shapes.base import Example, RowError

_UNABLE = r"(?:can(?:no|['’])?t|can not|am (?:not able|unable) to|['’]m (?:not able|unable) to|am not (?:capable|programmed)|won['’]t|will not be able to)"
_HELP = r"(?:help|assist|provide|fulfil|comply|answer|respond|generate|create|write|complete|engage|access|browse|discuss|support|offer|share|perform|do that|process|determine|translate|summari|edit|view|see|hear|play|open)"
_REFUSAL = re.compile(
    rf"\s*(?:(?:i['’]m|i am)(?: \w+){{0,2}} sorry|sorry|my apologies|i(?: \w+)? apologi[sz]e|unfortunately)\b[^.!?\n]{{0,60}}?\bi(?: \w+ly)? ?{_UNABLE} (?:\w+ ){{0,3}}?{_HELP}"
    rf"|\s*(?:i['’]m|i am)(?: \w+){{0,2}} sorry,? (?:but )?(?:as an ai|that goes against|i (?:do not|don['’]t) (?:have (?:the|enough|any|access)|understand))"
    rf"|\s*i(?: \w+ly)? ?(?:cannot|can['’]t|am (?:not able|unable) to|['’]m (?:not able|unable) to|won['’]t) (?:\w+ ){{0,2}}?(?:help (?:you )?with|assist (?:you )?with|provide (?:you )?with|fulfil|comply with|generate|engage in)"
    r"|\s*(?:很|非常|十分|真的)?(?:抱歉|对不起|不好意思|遗憾)[，,。！! ]{0,2}(?:但是?|由于|因为)?[^。！？\n]{0,25}?(?:我|作为)[^。！？\n]{0,12}?(?:无法|不能|没有办法|没办法|不会|不具备)"
    r"|\s*我(?:无法|不能)(?:为您|为你|向您|向你)?(?:提供|回答|满足|完成|协助|帮助|执行|生成)",
    re.IGNORECASE,
)
_LANGUAGE_MODEL = re.compile(
    r"\b(?:as an? (?:ai|artificial intelligence)(?:[ -](?:powered|based))? (?:large )?(?:language )?(?:model|assistant|chatbot|program)|as a (?:large )?language model)\b"
    r"|作为(?:一个|一名|一款|一种)?(?:大型?)?(?:的)?(?:AI|人工智能|智能)?(?:的)?(?:大?语言模型|自然语言处理模型|AI ?(?:助手|模型)|人工智能(?:助手|模型|程序))",
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
