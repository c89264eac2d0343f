"""What a dataset's manifest says of its chat template: how it was used, and what it can and cannot express."""

from __future__ import annotations

from pydantic import Field

from versatune.schemas.document import Part

THOUGHTS_LEFT_OUT = "template.thoughts_left_out"
"""A count in the books: rows that lose thoughts."""


class TriedKind(Part):
    """One kind of conversation on which the template was tried, and what becomes of such rows."""

    kind: str
    learned: bool = Field(description="false where such rows are rejected")
    reason: str = Field(default="", description="why they are rejected, as the books name it; empty where they are not")
    detail: str = Field(default="", description="the same in words, with those of the template where it refuses")
    counts: list[str] = Field(
        default_factory=list, description="what is counted of such rows, as the books name it; empty where all is well"
    )


class TurnEnd(Part):
    """How a turn of the assistant ends."""

    token: str | None = Field(description="the token that ends it and is learned with it; null where no token does")
    appended: bool = Field(
        default=False, description="the template writes it between turns only, and it was put behind the last one too"
    )


class TemplateForm(Part):
    """The form in which the template takes messages; inference has to pass them in the same."""

    parts: bool = Field(default=False, description='a content is a list: [{"type": "text", "text": ...}]')
    text_arguments: bool = Field(default=False, description="a call's arguments are JSON text, not an object")
    null_content: bool = Field(default=False, description="a message of calls alone has the content null")
    thoughts: str | None = Field(
        default=None,
        description="the field of thoughts; 'inline' where they stand in the content in <think> tags; null where the template knows none",
    )
    ids_name: bool = Field(default=False, description="calls are named by their ids alone: functions.<name>:<number>")


class TemplateRecord(Part):
    """A chat template as it was tried before the first row was read, under the options that the rows were made with."""

    origin: str = Field(
        description="'of model NAME' for the tokenizer's own, a file's name, or that of one that versatune brings"
    )
    names: list[str] = Field(description="the templates by name; 'tool_use' is for rows with tools and calls")
    form: TemplateForm
    answer: TurnEnd
    call: TurnEnd
    begin_token_left_out: str | None = Field(
        description="a token that the tokenizer itself puts first and chat rows do not have: through the template inference has none either"
    )
    variables: dict[str, bool | int | str] = Field(description="model.template_variables")
    variables_not_given: list[str] = Field(description="what the template also reads, and nobody gives")
    system: str = Field(description="model.system")
    thoughts: str = Field(description="model.thoughts")
    tools: str = Field(description="model.tools")
    kinds: list[TriedKind]

    @property
    def no_end(self) -> str:
        """Say that nothing teaches the model to stop; empty where a token ends an answer."""
        if self.answer.token is not None:
            return ""
        return (
            f"no token ends an answer (chat template {self.origin}), so nothing teaches the model to stop; give another template as"
            " model.chat_template, one that writes an end-of-turn token"
        )
