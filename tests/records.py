"""Records that tests of several packages put into manifests."""

from __future__ import annotations

from collections.abc import Sequence

from versatune.schemas.dataset import ClassifierRecord, DatasetManifest, Shard
from versatune.schemas.run import AuditedDomain, ExportAudit
from versatune.schemas.taxonomy import Taxonomy
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

AUDIT = ExportAudit(
    tensors=12,
    carried=0,
    domains=[AuditedDomain(domain="law", rows=4, loss_run=1.0, loss_model=1.0, loss_adapter=None)],
    largest_difference=0.0,
    tolerance=1e-3,
    ends={"<|im_end|>": "generated"},
    seconds=0.1,
    share=0.01,
)


def manifest_of(shards: Sequence[Shard], domains: Sequence[str]) -> DatasetManifest:
    """Return the manifest of shards that no build made."""
    return DatasetManifest.create(
        name="tiny", version="1", created_at="", environment={}, parent=None, schema_version=1, code_version="0",
        taxonomy=Taxonomy(domains=list(domains), aliases={}),
        classifier=ClassifierRecord(
            sha256="0" * 64, labels=[], undetermined_below=0.4, confusion=None, precision_determined=None, unseen_ece=None
        ),
        tokenizer=None, inputs=[], books=[], fields=[], shards=list(shards), near_duplicates=None, decontamination=None,
        repairs=None, rejects=[], lineage=[], config={},
    )  # fmt: skip
