"""Ids, metadata, filters and names as they travel, checked on the way out.

Only what cannot be sent is refused here; everything else is the server's to judge, whose messages say more.
"""

from __future__ import annotations

import json
import math
import os
import time
import uuid
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from hyperspace._models import Durability, Id, Metric, Quantization, Scope, Tuned
from hyperspace._proto import admin_pb2 as admin
from hyperspace._proto import types_pb2 as types
from hyperspace.errors import InvalidArgumentError

MAX_U64 = 2**64 - 1
MAX_ID_BYTES = 128

METRICS: dict[Metric, types.Metric] = {
    "l2": types.METRIC_L2,
    "cosine": types.METRIC_COSINE,
    "dot": types.METRIC_DOT,
    "poincare": types.METRIC_POINCARE,
}
QUANTIZATIONS: dict[Quantization, types.Quantization] = {
    "none": types.QUANTIZATION_NONE,
    "scalar_i8": types.QUANTIZATION_SCALAR_I8,
}
DURABILITIES: dict[Durability | None, types.Durability] = {
    None: types.DURABILITY_UNSPECIFIED,
    "strict": types.DURABILITY_STRICT,
    "relaxed": types.DURABILITY_RELAXED,
}
SCOPES: dict[Scope, admin.Scope] = {
    "read": admin.SCOPE_READ,
    "write": admin.SCOPE_WRITE,
    "sync": admin.SCOPE_SYNC,
    "admin": admin.SCOPE_ADMIN,
}

Word = TypeVar("Word")
Number = TypeVar("Number")


def number_of(what: str, word: Word, numbers: Mapping[Word, Number]) -> Number:
    """Returns the contract's number for a word such as a metric's name."""
    if word not in numbers:
        known = ", ".join(repr(known) for known in numbers)
        raise InvalidArgumentError(f"{what} is {word!r}, expected one of {known}")
    return numbers[word]


def word_of(number: Number, numbers: Mapping[Word, Number]) -> Word:
    """Returns the word for one of the contract's numbers."""
    return next(word for word, known in numbers.items() if known == number)


def unsigned(what: str, value: int | None) -> int | None:
    """Returns a number that the contract can carry; its range is the server's to judge."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value <= MAX_U64:
        raise InvalidArgumentError(f"{what} is {value!r}, expected an integer of 0 or more")
    return int(value)


def milliseconds(what: str, seconds: float | None) -> int | None:
    """Returns a time that the contract can carry."""
    if seconds is None:
        return None
    if not 0 < seconds < float("inf"):
        raise InvalidArgumentError(f"{what} is {seconds!r} s, expected a positive number")
    return unsigned(what, math.ceil(seconds * 1000))


def tuned(what: str, value: Tuned) -> int | None:
    """Returns a number to set as it travels: 0 for what adapts, nothing for what stays."""
    if value == "auto":
        return 0
    if value == 0:
        raise InvalidArgumentError(f"{what} is 0, expected 1 to 4096, 'auto' or None")
    return unsigned(what, value)


def new_id() -> str:
    """Makes a UUIDv7 (RFC 9562, section 5.7): milliseconds, then 74 random bits, so that ids ascend with time."""
    random = int.from_bytes(os.urandom(10), "big")
    high, low = random >> 62 & 0xFFF, random & (1 << 62) - 1
    milliseconds = time.time_ns() // 1_000_000
    return str(uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low))


def checked_id(value: object) -> Id:
    """Returns an id as a plain `int` or `str`."""
    if isinstance(value, str):
        size = len(utf8("id", value))
        if not 1 <= size <= MAX_ID_BYTES:
            raise InvalidArgumentError(f"id has {size} bytes of UTF-8, expected 1 to {MAX_ID_BYTES}")
        return str(value)
    # A bool is an int to Python; as an id it is a mistake.
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InvalidArgumentError(f"id is {value!r} ({type(value).__name__}), expected an int or a str")
    if not 0 <= value <= MAX_U64:
        raise InvalidArgumentError(f"id is {value}, expected 0 to {MAX_U64}")
    return int(value)


def wire_id(value: Id) -> types.PointId:
    """Returns a checked id as it travels."""
    return types.PointId(text=value) if isinstance(value, str) else types.PointId(number=value)


def read_id(message: types.PointId) -> Id:
    """Returns an id as callers know it."""
    return message.text if message.HasField("text") else message.number


def json_object(what: str, value: object) -> str:
    """Returns a mapping as JSON text: integers exactly, numbers of numpy like those of Python, and no NaN."""
    if not isinstance(value, Mapping):
        raise InvalidArgumentError(f"{what} is a {type(value).__name__}, expected a mapping")
    try:
        text = json.dumps(dict(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"{what} is not JSON: {error}") from None
    utf8(what, text)
    return text


def utf8(what: str, text: str) -> bytes:
    """Returns a text's bytes; half of a surrogate pair has none."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"{what} is not UTF-8: {error.reason} at {error.start}") from None


def _plain(value: object) -> Any:  # noqa: ANN401
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} has no JSON form")
