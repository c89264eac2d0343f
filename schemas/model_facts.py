"""What a document says of the base model whose folder it was made with: one record, made in one place, the same in every stage."""

from __future__ import annotations

from pydantic import Field

from versatune.schemas.document import Part


class ModelFacts(Part):
    """A model folder, as its files say; null where they do not."""

    name: str
    model_type: str | None = Field(description="in the words of its config.json")
    architecture: str | None = Field(description="the class that it was saved from")
    parameters: int | None = Field(description="numbers in its weights, those of a quantised model as they are packed")
    formats: dict[str, int] = Field(description="tensors by number format, as safetensors names it")
    embedding_rows: int | None = Field(description="token ids that there is an embedding for")
    context: int | None = Field(description="tokens that it can attend to; null also where positions have no end")
    bos: int | None = Field(description="id of the token that begins a text")
    eos: list[int] = Field(description="ids of the tokens that end generation")
    pad: int | None
    tied: bool | None = Field(description="whether input and output embedding are said to share their weights")
    quantization: str | None = Field(description="method by which its weights are quantised; null where they are not")
    multimodal: bool = Field(description="whether it has parts besides text; they are carried along, never trained")
    experts: int | None = Field(description="experts of a layer; null where there are none")
    own_code: bool = Field(
        description="whether it brings code of its own, which runs only where trust_remote_code is true"
    )
