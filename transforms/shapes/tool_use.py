"""Tools: what may be called, calls, and results, in one form whatever the source's."""

from __future__ import annotations

import json
import re
from typing import Any

from versatune.transforms.shapes import exact_json
from versatune.transforms.shapes.base import Message, Row, RowError, type_name
from versatune.transforms.shapes.tool_results import written_id

_ARGUMENTS = ("arguments", "parameters", "args")
_QUOTED_ARGUMENTS = re.compile(
    r"\s*\{\s*\"name\"\s*:\s*\"([^\"]+)\"\s*,\s*\"arguments\"\s*:\s*'(.*)'\s*\}\s*", re.DOTALL
)


def row_tools(row: Row) -> str | None:
    """Return the tools of a row's ``tools`` or ``functions`` field as a JSON list of function tools, or None."""
    for field in ("tools", "functions"):
        if row.get(field):
            return tools_json(row[field], field)
    return None


def tools_json(value: Any, field: str) -> str | None:
    """Return a list of tools (or JSON text of one) as ``[{"type": "function", "function": {...}}]``; None if empty.

    Raises:
        RowError: bad_tools.
    """
    if isinstance(value, str):
        if not value.strip():
            return None
        value = _parsed(value, "bad_tools", f"field '{field}' is text, but not JSON; expected a list of tools")
    tools = [value] if isinstance(value, dict) else value
    if tools is not None and not isinstance(tools, list):
        raise RowError("bad_tools", f"field '{field}' holds {type_name(value)}; expected a list of tools")
    if not tools:
        return None
    return _dumped([_tool(tool, f"{field}.{number}") for number, tool in enumerate(tools)], "bad_tools", field)


def _tool(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, str):
        value = _parsed(value, "bad_tools", f"{where} is text, but not JSON; expected an object with a name")
    function = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise RowError("bad_tools", f"{where} is {type_name(value)} without a name; expected a tool's description")
    return {"type": "function", "function": function}


def calls_json(value: Any, where: str) -> str:
    """Return calls as the JSON array ``[{"name": ..., "arguments": {...}}]``, each with its ``id`` where the source gives one.

    Args:
        value: one call or a list of them, as objects or JSON text; OpenAI's ``{"function": {...}}`` or the call itself.
        where: names the turn in errors.

    Raises:
        RowError: bad_tool_call.
    """
    if isinstance(value, str):
        quoted = _QUOTED_ARGUMENTS.fullmatch(value)  # as Glaive writes them
        if quoted:
            value = {"name": quoted[1], "arguments": quoted[2].replace("\\'", "'")}
        else:
            value = _parsed(value, "bad_tool_call", f"the tool call in {where} is not JSON")
    calls = value if isinstance(value, list) else [value]
    if not calls:
        raise RowError("bad_tool_call", f"{where} has an empty list of calls")
    return _dumped([_call(call, where) for call in calls], "bad_tool_call", where)


def _call(value: Any, where: str) -> dict[str, Any]:
    call = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(call, dict) or not isinstance(call.get("name"), str) or not call["name"]:
        raise RowError("bad_tool_call", f"{where} has a call without a name; expected name and arguments")
    arguments: Any = next((call[name] for name in _ARGUMENTS if call.get(name) is not None), {})
    if isinstance(arguments, str):
        problem = f"the arguments of a call in {where} are not JSON"
        arguments = _parsed(arguments, "bad_tool_call", problem) if arguments.strip() else {}
    if not isinstance(arguments, dict):
        raise RowError("bad_tool_call", f"the arguments of a call in {where} are {type_name(arguments)}, no object")
    called = {"name": call["name"], "arguments": arguments}
    identity = written_id(value.get("id")) or written_id(value.get("call_id"))
    return called | {"id": identity} if identity else called


def result_text(value: Any, where: str) -> str:
    """Return a tool's result as text: text as it is, other JSON written out, null as nothing."""
    if value is None:
        return ""
    if isinstance(value, str):
        inner = value.strip().removeprefix("<tool_response>").removesuffix("</tool_response>")
        is_tagged = len(inner) == len(value.strip()) - len("<tool_response></tool_response>")
        return inner.strip() if is_tagged else value
    return _dumped(value, "wrong_type", where)


def tagged_calls(content: str, where: str) -> list[Message]:
    """Return an assistant's turn whose text holds ``<tool_call>{...}</tool_call>``: the text before, and the calls."""
    before, calls, after = _parted(content)
    if not calls or after.strip():
        return [("assistant", content)]
    before = before.strip()
    values = [_parsed(call, "bad_tool_call", f"a tool call in {where} is not JSON") for call in calls]
    return [*([("assistant", before)] if before else []), ("tool_call", calls_json(values, where))]


def _parted(content: str) -> tuple[str, list[str], str]:
    """Return the text before the first tagged call, the calls, and the text behind the last."""
    before, _, _ = content.partition("<tool_call>")
    calls: list[str] = []
    done = 0
    while (start := content.find("<tool_call>", done)) >= 0 and (end := content.find("</tool_call>", start)) >= 0:
        calls.append(content[start + len("<tool_call>") : end].strip())
        done = end + len("</tool_call>")
    return before, calls, content[done:]


def _parsed(value: str, reason: str, detail: str) -> Any:
    try:
        return exact_json.loads(value)
    except json.JSONDecodeError:
        raise RowError(reason, detail) from None


def _dumped(value: Any, reason: str, where: str) -> str:
    try:
        return exact_json.dumps(value).decode()
    except TypeError:
        raise RowError(reason, f"{where} is nested too deep to be written as JSON") from None
