"""The steps that a configuration asks for, as one function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from versatune.schemas.config import CleanConfig, PiiConfig
from versatune.transforms.cleaning.control_tags import drop_control_tags, strip_control_tags
from versatune.transforms.cleaning.drop_patterns import pattern_filter
from versatune.transforms.cleaning.language import language_filter
from versatune.transforms.cleaning.lengths import length_filter
from versatune.transforms.cleaning.placeholders import drop_placeholders
from versatune.transforms.cleaning.refusals import drop_refusals
from versatune.transforms.cleaning.repetition import repetition_filter
from versatune.transforms.shapes.base import Example

Cleaner = Callable[[Example, Counter[str]], Example]


def make_cleaner(clean: CleanConfig, pii: PiiConfig) -> Cleaner | None:
    """Return the function that cleans one example, or None if everything is off.

    The order is fixed: repair the encoding, strip or drop control tags, then the filters from the cheapest to the
    dearest (lengths, placeholders, refusals, own patterns, repetition, language), then personal data (drop, mask, tag).
    So filters judge the repaired text, and what they reject is never searched for personal data.

    The function returns the example, changed or not, or raises RowError with a key of ``CLEAN_REASONS``. To the counter
    it adds what happened to examples that it returned: ``clean.encoding_repaired``, ``clean.control_tags_stripped``,
    ``clean.language_undetermined`` (examples), ``pii.KIND.masked`` or ``pii.KIND.tagged`` (places) and
    ``pii.KIND.rows`` (examples). It depends on the example alone.

    Raises:
        ConfigError: a pattern that is no regular expression, an unknown language or telephone region.
    """
    steps = _steps(clean) + _personal_data_steps(pii)
    if not steps:
        return None

    def cleaner(example: Example, counts: Counter[str]) -> Example:
        happened: Counter[str] = Counter()
        for step in steps:
            example = step(example, happened)
        counts.update(happened)
        return example

    return cleaner


def _personal_data_steps(pii: PiiConfig) -> list[Cleaner]:
    if pii == PiiConfig():
        return []
    from versatune.transforms.cleaning.personal_data import personal_data_steps  # so does that for telephone numbers

    return personal_data_steps(pii)


def _steps(clean: CleanConfig) -> list[Cleaner]:
    steps: list[Cleaner] = []
    if clean.repair_encoding:
        from versatune.transforms.cleaning.encoding import repair_encoding  # its library takes 50 ms to import

        steps.append(repair_encoding)
    if clean.control_tags != "off":
        steps.append(strip_control_tags if clean.control_tags == "strip" else drop_control_tags)
    if clean.min_prompt_chars or clean.min_answer_chars or clean.max_chars is not None:
        steps.append(length_filter(clean))
    if clean.placeholders == "drop":
        steps.append(drop_placeholders)
    if clean.refusals == "drop":
        steps.append(drop_refusals)
    if clean.drop_patterns:
        steps.append(pattern_filter(clean.drop_patterns))
    if clean.max_repetition is not None:
        steps.append(repetition_filter(clean.max_repetition))
    if clean.languages is not None:
        steps.append(language_filter(clean.languages))
    return steps
