"""Arrow's columns as JSON values, whatever their types: what a row would hold if it had been written as JSON Lines.

Arrow gives every struct all keys of its column, so that a struct's null says nothing and is left out; a null in a list, in a map or
of a whole column stays. No value of a column can keep the others from being read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from versatune.transforms.formats.encoding import decoded
from versatune.transforms.formats.fault import FormatError
from versatune.transforms.shapes import exact_json

_EXTENSION_NAME = b"ARROW:extension:name"
_UNITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_DAY_S = 86_400


def json_rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Yield rows by column name, as :func:`versatune.transforms.formats.encoding.dump_row` takes them."""
    features = _features(batch.schema)
    columns = [
        _values(column, field, features.get(field.name))
        for column, field in zip(batch.columns, batch.schema, strict=True)
    ]
    names = batch.schema.names
    for cells in zip(*columns, strict=True) if columns else [()] * batch.num_rows:
        yield dict(zip(names, cells, strict=True))


def refuse_equal_names(schema: pa.Schema) -> None:
    """Raise FormatError where two columns, or two fields of a struct, have one name: a row could hold only one of them."""
    fields = [("", field) for field in schema]
    seen: set[str] = set()
    for where, field in fields:
        name = f"{where}{field.name}"
        if name in seen:
            raise FormatError(f"found two columns named '{name}'. Expected every name once: rename or drop one of them")
        seen.add(name)
        fields += [(f"{name}.", inner) for inner in _fields_of(field.type)]


def _fields_of(kind: pa.DataType) -> list[pa.Field]:
    return [kind.field(number) for number in range(kind.num_fields)]


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Return what the ``datasets`` library noted about the columns."""
    try:
        found = orjson.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, orjson.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _values(array: pa.Array, field: pa.Field, feature: Any = None) -> list[Any]:
    """Return an array's values; ``feature`` is what ``datasets`` noted about it."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _of_extension(array, field, feature)
    if _is_json(field, feature):
        return [_parsed(text) for text in _texts(array)]
    if pa.types.is_struct(kind):
        return _structs(array, feature if isinstance(feature, dict) else {})
    if pa.types.is_map(kind):
        return _maps(array)
    if _is_list(kind):
        inner = feature.get("feature") if isinstance(feature, dict) else None
        return _lists(array, inner)
    if pa.types.is_dictionary(kind):
        return _values(array.dictionary_decode(), field.with_type(kind.value_type), feature)
    if pa.types.is_run_end_encoded(kind):
        return _values(pc.run_end_decode(array), field.with_type(kind.value_type), feature)
    return _leaf_reader(kind)(array)


def _of_extension(array: pa.Array, field: pa.Field, feature: Any) -> list[Any]:
    name = array.type.extension_name
    if name == "arrow.json":
        return [_parsed(text) for text in _texts(array.storage)]
    if name in {"arrow.uuid", "arrow.bool8"}:
        return array.to_pylist()
    return _values(array.storage, pa.field(field.name, array.storage.type), feature)


def _is_json(field: pa.Field, feature: Any) -> bool:
    """Say whether texts are JSON: noted where the extension type itself is unknown."""
    is_noted = isinstance(feature, dict) and feature.get("_type") == "Json"
    is_named = field.metadata is not None and field.metadata.get(_EXTENSION_NAME) == b"arrow.json"
    return (is_noted or is_named) and _is_text(field.type)


def _parsed(text: Any) -> Any:
    """Return the value of JSON text; what is none stays text."""
    if not isinstance(text, str):
        return text
    try:
        return exact_json.loads(text)
    except ValueError:
        return text


def _structs(array: pa.Array, features: dict[str, Any]) -> list[Any]:
    fields = _fields_of(array.type)
    names = [field.name for field in fields]
    children = [_values(array.field(n), field, features.get(field.name)) for n, field in enumerate(fields)]
    rows = zip(*children, strict=True) if children else [()] * len(array)
    found = [{name: cell for name, cell in zip(names, cells, strict=True) if cell is not None} for cells in rows]
    if not array.null_count:
        return found
    return [value if valid else None for value, valid in zip(found, array.is_valid().to_pylist(), strict=True)]


def _maps(array: pa.Array) -> list[Any]:
    offsets = array.offsets.to_pylist()
    first, size = offsets[0], offsets[-1] - offsets[0]
    kind = array.type
    keys = _values(array.keys.slice(first, size), kind.key_field)
    items = _values(array.items.slice(first, size), kind.item_field)
    found = [
        dict(zip(map(str, keys[start - first : end - first]), items[start - first : end - first], strict=True))
        for start, end in pairwise(offsets)
    ]
    return [value if valid else None for value, valid in zip(found, array.is_valid().to_pylist(), strict=True)]


def _lists(array: pa.Array, feature: Any) -> list[Any]:
    items = _values(array.flatten(), array.type.value_field, feature)
    found: list[Any] = []
    at = 0
    for length in pc.list_value_length(array).to_pylist():
        if length is None:
            found.append(None)
        else:
            found.append(items[at : at + length])
            at += length
    return found


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _leaf_reader(kind: pa.DataType) -> Callable[[pa.Array], list[Any]]:
    readers: list[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], list[Any]]]] = [
        (_is_text, _texts),
        (_is_binary, _binaries),
        (pa.types.is_floating, _floats),
        (pa.types.is_decimal, _decimals),
        (pa.types.is_timestamp, _timestamps),
        (pa.types.is_date, _dates),
        (pa.types.is_time, _times),
        (pa.types.is_duration, _durations),
        (
            pa.types.is_interval,
            lambda array: [None if value is None else _interval(value) for value in array.to_pylist()],
        ),
    ]
    return next((reader for fits, reader in readers if fits(kind)), lambda array: array.to_pylist())


def _texts(array: pa.Array) -> list[Any]:
    try:
        return array.to_pylist()
    except UnicodeDecodeError:
        binary = {"string": pa.binary(), "large_string": pa.large_binary(), "string_view": pa.binary_view()}
        return _binaries(array.cast(binary[str(array.type)]))


def _binaries(array: pa.Array) -> list[Any]:
    return [None if value is None else decoded(value) for value in array.to_pylist()]


def _floats(array: pa.Array) -> list[Any]:
    """Return floats of any width as the shortest number that reads back as the same, which is what was meant by it: 37.2."""
    if pa.types.is_float16(array.type):
        array = pa.array([None if v is None else float(str(np.float16(v))) for v in array.to_pylist()], pa.float64())
    elif pa.types.is_float32(array.type):
        array = array.cast(pa.string()).cast(pa.float64())
    sizes = np.abs(array.to_numpy(zero_copy_only=False))
    with_exponent = (sizes >= 1e16) | ((sizes < 1e-4) & (sizes > 0))
    if not with_exponent.any():
        return array.to_pylist()
    return [
        exact_json.number(repr(value)) if marked and np.isfinite(value) else value
        for value, marked in zip(array.to_pylist(), with_exponent.tolist(), strict=True)
    ]


def _decimals(array: pa.Array) -> list[Any]:
    def digits(value: Any) -> Any:
        text = format(value, "f")
        return exact_json.number(text) if "." in text else exact_json.integer(text)

    return [None if value is None else digits(value) for value in array.to_pylist()]


def _integers(array: pa.Array) -> list[int | None]:
    """Return the numbers that stand for dates and times."""
    return list(array.view(pa.int32() if array.type.bit_width == 32 else pa.int64()).to_pylist())


def _timestamps(array: pa.Array) -> list[Any]:
    digits, zone = _UNITS[array.type.unit], _zone(array.type.tz)
    return [None if value is None else _moment(value, digits, zone) for value in _integers(array)]


def _zone(name: str | None) -> tzinfo | None:
    """Return a time zone; that of an unknown name is UTC, in which the moments are stored."""
    if name is None:
        return None
    try:
        zone: tzinfo = pa.lib.string_to_tzinfo(name)
    except (ValueError, KeyError, OSError, pa.ArrowException):
        return UTC
    return zone


def _moment(value: int, digits: int, zone: tzinfo | None) -> str:
    """Return a moment as ISO 8601 has it, with its offset if it has a time zone; beyond the year 9999 in UTC."""
    seconds, rest = divmod(value, 10**digits)
    fraction = _fraction(rest, digits)
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
        text = moment.astimezone(zone).isoformat() if zone else moment.replace(tzinfo=None).isoformat()
    except (OverflowError, ValueError):
        days, second = divmod(seconds, _DAY_S)
        text = f"{_day(days)}T{_clock(second)}"
        return f"{text}{fraction}{'+00:00' if zone else ''}"
    return f"{text[:19]}{fraction}{text[19:]}"


def _fraction(rest: int, digits: int) -> str:
    return f".{rest:0{digits}d}".rstrip("0") if rest else ""


def _clock(second: int) -> str:
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"


def _dates(array: pa.Array) -> list[Any]:
    per_day = 1 if pa.types.is_date32(array.type) else _DAY_S * 1000
    return [None if value is None else _day(value // per_day) for value in _integers(array)]


def _day(days: int) -> str:
    """Return a day as ISO 8601 has it; beyond Python's years by the rule of the Gregorian calendar, which repeats every 400 years."""
    try:
        return date.fromordinal(days + _EPOCH_ORDINAL).isoformat()
    except (OverflowError, ValueError):
        cycles, day = divmod(days, 146_097)
        year, rest = date.fromordinal(day + _EPOCH_ORDINAL).isoformat().split("-", 1)
        return f"{int(year) + 400 * cycles:05d}-{rest}"


def _times(array: pa.Array) -> list[Any]:
    digits = _UNITS[array.type.unit]
    parts = (None if value is None else divmod(value, 10**digits) for value in _integers(array))
    return [None if part is None else f"{_clock(part[0])}{_fraction(part[1], digits)}" for part in parts]


def _durations(array: pa.Array) -> list[Any]:
    digits = _UNITS[array.type.unit]
    return [None if value is None else _duration(value, digits) for value in _integers(array)]


def _duration(value: int, digits: int) -> str:
    """Return a duration as ISO 8601 has it, hours the largest unit: PT26H3M4.5S."""
    seconds, rest = divmod(abs(value), 10**digits)
    parts = [(seconds // 3600, "H"), (seconds // 60 % 60, "M")]
    text = "".join(f"{number}{unit}" for number, unit in parts if number)
    if seconds % 60 or rest or not text:
        text += f"{seconds % 60}{_fraction(rest, digits)}S"
    return f"{'-' if value < 0 else ''}PT{text}"


def _interval(value: Any) -> str:
    return f"P{value.months}M{value.days}D{_duration(value.nanoseconds, 9)[1:]}"
