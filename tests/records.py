"""Records that tests of several packages put into manifests."""

from __future__ import annotations

from versatune.schemas.template_record import TemplateForm, TemplateRecord, TriedKind, TurnEnd

TEMPLATE = TemplateRecord(
    origin="of model m",
    names=["default"],
    form=TemplateForm(),
    answer=TurnEnd(token="<|im_end|>"),
    call=TurnEnd(token="<|im_end|>"),
    begin_token_left_out=None,
    variables={},
    variables_not_given=[],
    system="keep",
    thoughts="as_rendered",
    tools="keep",
    kinds=[TriedKind(kind="one turn", learned=True)],
)
