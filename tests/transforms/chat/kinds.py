"""Twenty-four kinds of conversations, as the tokenizer stage gets them: (role, content) pairs, and the tools as JSON."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

Turn = tuple[str, str]


class Kind(NamedTuple):
    """One conversation."""

    turns: list[Turn]
    tools: str | None = None


def _tool(name: str, **properties: str) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": {key: {"type": kind, "description": f"The {key}."} for key, kind in properties.items()},
        "required": list(properties),
    }
    description = f"Looks up the {name.replace('_', ' ')}."
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def _calls(*calls: tuple[str, dict[str, Any]], ids: tuple[str, ...] = ()) -> Turn:
    made: list[dict[str, Any]] = [{"name": name, "arguments": arguments} for name, arguments in calls]
    for call, name in zip(made, ids, strict=False):
        call["id"] = name
    return "tool_call", json.dumps(made, ensure_ascii=False)


WEATHER, TIDES, CLOCK = _tool("weather", place="string"), _tool("tide_table", harbour="string"), _tool("clock")
RECORD = _tool("record_visit", guest="object", nights="integer", paid="boolean", note="string", tags="array")
TOOLS = json.dumps([WEATHER, TIDES, CLOCK])

ASK: Turn = ("user", "Where was the old mill of Aldenau built?")
SAY: Turn = ("assistant", "Behind the church, on the left bank of the river.")
RULES: Turn = ("system", "Answer as the guide of a small museum would.")
PONDER: Turn = ("reasoning", "The mill stands by water, so the bank has to be named.")
MORE: list[Turn] = [
    ("user", "Who paid for it?"),
    ("assistant", "Four farmers did, each a quarter."),
    ("user", "And who runs it today?"),
    ("assistant", "Nobody; its wheel was sold in 1931."),
]
ASK_WEATHER: Turn = ("user", "Does it rain in Bergen this morning?")
LOOK: Turn = _calls(("weather", {"place": "Bergen"}), ids=("w1a2b3c4d",))
RAIN: Turn = ("tool", "light showers until ten")
WET: Turn = ("assistant", "Yes, take an umbrella until ten o'clock.")
MANY_LINES = "The steps are these:\n\n1. Drain the pond.\n2. Lift the gate.\n\n\nThen wait a day\nand close it again."
LONG = "\n\n".join(
    f"Chapter {n}. In year {1800 + n} the village counted {n * 37 + 11} heads, and its {n % 9 + 2} wells held water all summer."
    for n in range(1, 60)
)
CODE = '# Heading\n\n- **bold** and `code`\n\n```python\nif x < 3 and y > 2:\n    print("<b>", x & y)\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |'
JSON_TEXT = '{"answer": ["yes", {"why": null}], "note": "a \\"quoted\\" word"} /no_think'


def _thinking(thought: str, answer: str) -> Turn:
    """An answer whose source wrote its thoughts inline."""
    return "assistant", f"<think>\n{thought}\n</think>\n\n{answer}"


KINDS: dict[str, Kind] = {
    "one turn": Kind([ASK, SAY]),
    "several turns": Kind([ASK, SAY, *MORE]),
    "system": Kind([RULES, ASK, SAY]),
    "several with system": Kind([RULES, ASK, SAY, *MORE]),
    "thoughts": Kind([ASK, PONDER, SAY]),
    "thoughts in the last turn": Kind([ASK, SAY, *MORE[:3], ("reasoning", "The wheel is gone, I recall."), MORE[3]]),
    "thoughts in all turns": Kind(
        [
            *(ASK, PONDER, SAY, MORE[0], ("reasoning", "A shared purse, by the deeds."), MORE[1]),
            *(MORE[2], ("reasoning", "The wheel is gone, I recall."), MORE[3]),
        ]
    ),
    "inline thoughts": Kind([ASK, _thinking(PONDER[1], SAY[1])]),
    "inline thoughts in all turns": Kind(
        [
            *(ASK, _thinking(PONDER[1], SAY[1])),
            *(MORE[0], _thinking("A shared purse, by the deeds.", MORE[1][1])),
        ]
    ),
    "call, result, answer": Kind([ASK_WEATHER, LOOK, RAIN, WET], TOOLS),
    "call as last act": Kind([ASK_WEATHER, LOOK], TOOLS),
    "two rounds": Kind(
        [
            *(ASK_WEATHER, _calls(("weather", {"place": "Bergen harbour"})), RAIN),
            *(_calls(("tide_table", {"harbour": "Bergen"})), ("tool", "low water at 9.40"), WET),
        ],
        TOOLS,
    ),
    "calls in two turns": Kind(
        [
            *(RULES, ASK_WEATHER, LOOK, RAIN, WET, ("user", "When is low water there?")),
            *(_calls(("tide_table", {"harbour": "Bergen"}), ids=("t9z8y7x6w",)), ("tool", "low water at 9.40")),
            ("assistant", "At twenty to ten."),
        ],
        TOOLS,
    ),
    "parallel calls": Kind(
        [
            *(ASK_WEATHER, _calls(("weather", {"place": "Bergen"}), ("tide_table", {"harbour": "Bergen quay"}))),
            *(RAIN, ("tool", "low water at 9.40"), WET),
        ],
        TOOLS,
    ),
    "text beside a call": Kind([ASK_WEATHER, ("assistant", "One moment, I look it up."), LOOK, RAIN, WET], TOOLS),
    "thoughts beside a call": Kind(
        [
            *(ASK_WEATHER, ("reasoning", "Only the station can tell."), LOOK, RAIN),
            *(("reasoning", "Showers are rain as well."), WET),
        ],
        TOOLS,
    ),
    "empty arguments": Kind([("user", "How late is it?"), _calls(("clock", {})), ("tool", "11.52"), SAY], TOOLS),
    "odd arguments": Kind(
        [
            ("user", "Write down the visit of Zoë."),
            _calls(
                (
                    "record_visit",
                    {
                        "guest": {"name": "Zoë Ångström", "age": 41, "pets": [{"kind": "cat", "weight": 3.25}]},
                        "nights": 12345678901234567,
                        "paid": True,
                        "note": 'said "thanks" & left\nat <noon>, it\'s done',
                        "tags": ["東京", "x"],
                    },
                )
            ),
            ("tool", "stored under 77"),
            ("assistant", "It is written down."),
        ],
        json.dumps([RECORD]),
    ),
    "tools not called": Kind([ASK, SAY], TOOLS),
    "long text": Kind([("user", "Tell the whole chronicle of the village."), ("assistant", LONG)]),
    "markdown, code and JSON": Kind(
        [("user", CODE), ("assistant", JSON_TEXT), ("user", JSON_TEXT), ("assistant", CODE)]
    ),
    "short answers": Kind(
        [
            *(("user", "Which letter ends plurals?"), ("assistant", "s"), ("user", "s"), ("assistant", "user")),
            *(("user", "assistant"), ("assistant", "assistant"), ("user", "."), ("assistant", "a")),
        ]
    ),
    "many lines": Kind([("user", "How is the sluice cleaned?\nIn short,\n\nplease."), ("assistant", MANY_LINES)]),
    "indented code": Kind([("user", "    return y\nIn this line, it has to be x."), ("assistant", "    return x")]),
}
