"""One offline HTML page about a chat template: what it expresses, and what of each kind of conversation is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from versatune.reporting import rendering
from versatune.schemas.files import write_atomic
from versatune.schemas.template_record import TemplateRecord
from versatune.schemas.visible import visible


def write_template_page(
    file: Path,
    record: TemplateRecord,
    lines: Sequence[str],
    kinds: Sequence[tuple[str, str, str]],
    examples: Mapping[str, Sequence[tuple[str, bool]]],
) -> Path:
    """Write the page.

    Args:
        file: where.
        record: of the template.
        lines: what there is to say of it as a whole.
        kinds: each kind of conversation, whether it is learned (yes, in part, no), and what is not as it should be.
        examples: of each kind that is learned what the template makes of it, in pieces, each with whether it is learned.
    """
    shown = {kind: [(visible(text), learned) for text, learned in pieces] for kind, pieces in examples.items()}
    page = rendering.render("template.html.j2", record=record, lines=lines, kinds=kinds, examples=shown)
    write_atomic(file, page.encode())
    return file
