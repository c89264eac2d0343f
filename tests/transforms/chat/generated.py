"""A grammar of chat templates and of rows: what public templates do, in every combination that makes sense."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

Row = list[tuple[str, str]]

# Each kind of text is written in letters of its own, which no template writes: what is learned shows by its letters whose it is.
LETTERS = {
    "system": "աբգդ",
    "user": "αβγδ",
    "assistant": "абвг",
    "reasoning": "აბგდ",
    "tool_call": "アイウエ",
    "tool": "あいうえ",
}
LEARNED = ("assistant", "reasoning", "tool_call")
_ROLES = ("system", "user", "assistant", "tool")
_NAMES = ("look", "find")
TOOLS = [
    {
        "type": "function",
        "function": {"name": name, "description": "あい", "parameters": {"type": "object", "properties": {}}},
    }
    for name in _NAMES
]


@dataclass(frozen=True)
class Style:
    """One template of the grammar."""

    header: str
    """What opens a turn; ``ROLE`` stands for the role."""
    gap: str
    """What stands between the header and the text."""
    end: str
    """Where ``<|end|>`` stands: ``after`` each turn, ``between`` turns; ``role`` where the next turn's header ends one; ``none``."""
    before_end: str
    after_end: str
    eos: str
    """The tokens that end generation, separated by blanks."""
    plain: bool
    """Whether the added tokens are not special."""
    begins: bool
    """Whether the template writes a begin token."""
    stops: bool
    """Whether ``<|stop|>`` stands at the end of each conversation."""
    prompt: str
    """Whether the next turn's header is written ``asked``, ``always`` or ``never``."""
    prompt_gap: bool
    """Whether the generation prompt holds the gap behind the header."""
    opens: str
    """What the generation prompt writes behind the header."""
    parts: bool
    """Whether contents are lists of parts."""
    trims: bool
    system: str
    """A system turn is ``kept``, ``dropped``, ``merged`` into the first question, ``refused``, or kept for a question at the ``end``."""
    thoughts: str
    """The field that thoughts are read from; empty where they are dropped."""
    empty: bool
    """Whether the last turn shows empty thoughts where it has none."""
    arguments: str
    """Of calls: an ``object``, ``text``, or ``dropped`` with the call."""
    results: bool
    """Whether results are written."""
    ids: bool
    """Whether a result names its call by its id."""
    lists_tools: bool

    @property
    def added(self) -> str:
        """The tokens that the tokenizer adds, separated by blanks."""
        headers = [self.header.replace("ROLE", role) for role in _ROLES] if self.header == "<|ROLE|>" else ["<|start|>"]
        return " ".join([*headers, "<|end|>", "<|stop|>", "<call>", "</call>"])

    def template(self) -> str:
        """Return the template."""
        body = "(CONTENT | map(attribute='text') | join)" if self.parts else "CONTENT"
        body = f"({body} | trim)" if self.trims else body
        head = self.header.replace("ROLE", "' + ROLE + '")
        opening = self.header.replace("ROLE", "assistant") + (self.gap if self.prompt_gap else "") + self.opens
        asked = {"asked": " if add_generation_prompt", "always": "", "never": " if false"}[self.prompt]
        end = {"after": "true", "between": "not loop.last or add_generation_prompt"}.get(self.end, "false")
        lines = [
            "{{- '<|begin|>' }}" if self.begins else "",
            "{{- 'Tools: ' + (tools | tojson) + '.' if tools }}" if self.lists_tools else "",
            "{%- set ns = namespace(system='', turns=messages) %}",
            self._system().replace("BODY", body.replace("CONTENT", "messages[0].content")),
            "{%- for m in ns.turns %}",
            "{%- if m.role != 'tool' or RESULTS %}".replace("RESULTS", str(self.results).lower()),
            "{{- '" + head.replace("ROLE", "m.role") + _quoted(self.gap) + "' }}",
            "{{- m.tool_call_id + ': ' if m.role == 'tool' }}" if self.ids else "",
            self._thoughts(),
            "{{- ns.system + '|' if ns.system and m.role == 'user' and "
            + ("loop.last" if self.system == "end" else "loop.first")
            + " }}",
            "{{- " + body.replace("CONTENT", "m.content") + " }}",
            self._calls(),
            "{{- '" + _quoted(f"{self.before_end}<|end|>{self.after_end}") + "' if " + end + " }}",
            "{%- endif %}",
            "{%- endfor %}",
            "{{- '<|stop|>' if not add_generation_prompt }}" if self.stops else "",
            "{{- '" + _quoted(opening) + "'" + asked + " }}",
        ]
        return "\n".join(line for line in lines if line)

    def _system(self) -> str:
        if self.system == "kept":
            return ""
        action = {
            "dropped": "",
            "merged": "{%- set ns.system = BODY %}",
            "end": "{%- set ns.system = BODY %}",
            "refused": "{{- raise_exception('no system turn, please') }}",
        }[self.system]
        return "{%- if messages[0].role == 'system' %}" + action + "{%- set ns.turns = messages[1:] %}{%- endif %}"

    def _thoughts(self) -> str:
        shown = "{%- if FALSE %}"
        if self.thoughts:
            shown = "{%- if m.FIELD %}{{- '<think>\\n' + m.FIELD + '\\n</think>\\n\\n' }}".replace(
                "FIELD", self.thoughts
            )
        empty = (
            "{%- elif m.role == 'assistant' and loop.last %}{{- '<think>\\n\\n</think>\\n\\n' }}" if self.empty else ""
        )
        return shown.replace("FALSE", "false") + empty + "{%- endif %}" if self.thoughts or self.empty else ""

    def _calls(self) -> str:
        if self.arguments == "dropped":
            return ""
        arguments = "c.function.arguments" if self.arguments == "text" else "(c.function.arguments | tojson)"
        return "{%- for c in m.tool_calls or [] %}{{- '<call>' + c.function.name + ' ' + ARGS + '</call>' }}{%- endfor %}".replace(
            "ARGS", arguments
        )

    def messages(self, row: Row) -> list[dict[str, Any]]:
        """Return a row in the form that the template takes."""
        turns: list[dict[str, Any]] = []
        waiting: list[str] = []
        count = 0
        opened = False  # whether the assistant's message goes on
        for role, content in row:
            if role in ("reasoning", "tool_call", "assistant") and not opened:
                turns.append({"role": "assistant", "content": self._content("")})
            opened = role in ("reasoning", "assistant")
            if role == "reasoning":
                turns[-1][self.thoughts or "thoughts_of_nobody"] = content
            elif role == "tool_call":
                turns[-1]["tool_calls"] = []
                for call in json.loads(content):
                    waiting.append(f"call{count:05d}")
                    count += 1
                    turns[-1]["tool_calls"].append(self._call(call, waiting[-1]))
            elif role == "assistant":
                turns[-1]["content"] = self._content(content)
            else:
                turns.append({"role": role, "content": self._content(content)})
                if role == "tool":
                    turns[-1]["tool_call_id"] = waiting.pop(0)
        return turns

    def _content(self, text: str) -> Any:
        return [{"type": "text", "text": text}] if self.parts else text

    def _call(self, call: dict[str, Any], name: str) -> dict[str, Any]:
        arguments = call["arguments"]
        if self.arguments == "text":
            arguments = json.dumps(arguments, ensure_ascii=False)
        return {"id": name, "type": "function", "function": {"name": call["name"], "arguments": arguments}}

    def reasons(self, row: Row) -> set[str]:
        """Return the reasons for which a row may be rejected under this template; empty where it has to be learned."""
        roles = {role for role, _ in row}
        found = set()
        if "system" in roles and self.system in ("dropped", "end", "refused"):
            found |= {"template_without_system"} | ({"template_error"} if self.system == "refused" else set())
        if "tool_call" in roles and self.arguments == "dropped":
            found.add("template_without_calls")
        if "tool_call" in roles and self.arguments == "dropped" and not self.lists_tools:
            found.add(
                "template_without_tools"
            )  # a template that writes calls may leave the list to the system turn; counted
        if "tool" in roles and not self.results:
            found.add("template_without_results")
        return found


def _quoted(text: str) -> str:
    return text.replace("\n", "\\n")


@st.composite
def styles(draw: st.DrawFn) -> Style:
    """Draw a template."""
    mostly = st.sampled_from([True, True, True, False])
    header = draw(st.sampled_from(["<|ROLE|>", "<|start|>ROLE", "### ROLE:"]))
    end = draw(st.sampled_from(["after", "after", "between", "none", *(["role"] if header == "<|ROLE|>" else [])]))
    after = end == "after"
    thoughts = draw(st.sampled_from(["", "reasoning_content", "thinking", "reasoning"]))
    prompt = draw(st.sampled_from(["asked", "asked", "never", *(["always"] if after else [])]))
    stops = after and draw(st.booleans())
    eos = (
        draw(st.sampled_from(["<|end|>", "<|stop|> <|end|>", "<|stop|>"]))
        if end in ("after", "between")
        else "<|stop|>"
    )
    return Style(
        header=header,
        gap=draw(st.sampled_from(["", "\n", " "])),
        end=end,
        before_end=draw(st.sampled_from(["", "\n"])) if after else "",
        after_end=draw(st.sampled_from(["", "\n"])),
        eos="<|user|> <|tool|>" if end == "role" else eos,
        plain=draw(st.booleans()),
        begins=draw(st.booleans()),
        stops=stops,
        prompt=prompt,
        prompt_gap=draw(st.booleans()),
        opens=draw(st.sampled_from(["", "", "<think>", "<think>\n"])) if thoughts and prompt == "asked" else "",
        parts=draw(st.booleans()),
        trims=draw(st.booleans()),
        system=draw(st.sampled_from(["kept", "kept", "merged", "dropped", "refused", "end"])),
        thoughts=thoughts,
        empty=bool(thoughts) and draw(st.booleans()),
        arguments=draw(st.sampled_from(["object", "object", "text", "dropped"])),
        results=draw(mostly),
        ids=draw(st.booleans()),
        lists_tools=draw(mostly),
    )


def texts(kind: str) -> st.SearchStrategy[str]:
    """Return texts in the letters of a kind, with whatever else texts hold; as rows have them, with blanks at no edge but the first line's."""
    letters = st.text(st.sampled_from(LETTERS[kind]), min_size=1, max_size=4)
    other = st.text(st.sampled_from(" \n\"'<{/1.-"), max_size=3)
    indent = st.sampled_from(["", "", "", "  ", "\t"])
    inner = st.tuples(other, letters, other, letters, other).map(lambda parts: "".join(parts).strip())
    return st.tuples(indent, inner).map("".join)


def _calls() -> st.SearchStrategy[str]:
    call = st.builds(
        lambda name, town, size: {"name": name, "arguments": {"town": town, "size": size}},
        st.sampled_from(_NAMES),
        texts("tool_call"),
        st.integers(-5, 5),
    )
    return st.lists(call, min_size=1, max_size=2).map(lambda calls: json.dumps(calls, ensure_ascii=False))


@st.composite
def rows(draw: st.DrawFn, style: Style) -> Row:
    """Draw a conversation; thoughts only where the template has a place for them."""

    def maybe(role: str, odds: int) -> Row:
        return [(role, draw(texts(role)))] if draw(st.integers(1, odds)) == 1 else []

    def thoughts() -> Row:
        return [(role, text.strip()) for role, text in (maybe("reasoning", 3) if style.thoughts else [])]

    row = maybe("system", 3)
    for _ in range(draw(st.integers(1, 3))):
        row.append(("user", draw(texts("user"))))
        for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
            calls = draw(_calls())
            row += [*thoughts(), *maybe("assistant", 3), ("tool_call", calls)]
            said = st.just("") | texts("tool") if style.results else texts("tool")
            row += [("tool", draw(said)) for _ in json.loads(calls)]
        row += [*thoughts(), ("assistant", draw(texts("assistant")))]
    return row


def has_tools(row: Row) -> bool:
    """Say whether a row calls tools; it is then told of them."""
    return any(role == "tool_call" for role, _ in row)
