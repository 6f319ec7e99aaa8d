"""Ids, metadata and small numbers, as they travel."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import numpy as np
import pytest

from hyperspace import InvalidArgumentError
from hyperspace._values import checked_id, json_object, new_id, read_id, tuned, unsigned, wire_id

GOOD_IDS = [0, 1, 2**53 + 1, 2**63, 2**64 - 1, "a", "0", "é" * 64, "\N{SNOWMAN}", "a\0b"]
BAD_IDS = [-1, 2**64, True, False, np.True_, 1.0, None, b"a", "", "é" * 65, "a" * 129, "\ud800"]


@pytest.mark.parametrize("point_id", GOOD_IDS)
def test_ids_come_back_as_they_were_sent(point_id: int | str) -> None:
    there = wire_id(checked_id(point_id)).SerializeToString()
    back = read_id(type(wire_id(0)).FromString(there))
    assert (back, type(back)) == (point_id, type(point_id))


@pytest.mark.parametrize("point_id", BAD_IDS)
def test_what_is_no_id_is_refused(point_id: object) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^id (is|has) "):
        checked_id(point_id)


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint64])
def test_integers_of_numpy_are_ids(kind: type[np.integer[Any]]) -> None:
    largest = np.iinfo(kind).max
    checked = checked_id(kind(largest))
    assert (checked, type(checked)) == (int(largest), int)


def test_new_ids_are_uuids_of_version_7_of_this_moment() -> None:
    before = time.time_ns() // 1_000_000
    made = [uuid.UUID(new_id()) for _ in range(1000)]
    after = time.time_ns() // 1_000_000
    assert len(set(made)) == 1000
    for one in made:
        assert (one.version, one.variant) == (7, uuid.RFC_4122)
        assert before <= one.int >> 80 <= after


def test_random_bits_of_new_ids_all_vary() -> None:
    made = [uuid.UUID(new_id()).int for _ in range(200)]
    ever = never = (1 << 128) - 1
    for one in made:
        ever &= one
        never &= ~one
    # 200 fair coins all alike: once in 2^199 runs.
    varying = ~(ever | never) & ((1 << 128) - 1)
    assert varying & ((1 << 62) - 1) == (1 << 62) - 1
    assert varying >> 64 & 0xFFF == 0xFFF


def test_metadata_keeps_integers_exactly_and_text_as_it_is() -> None:
    metadata = {"n": 2**63 + 1, "small": -(2**63), "f": 0.1, "t": '日本 "x"', "l": [1, None, True], "o": {"a": {}}}
    text = json_object("metadata", metadata)
    assert json.loads(text) == metadata
    assert "日本" in text


def test_numbers_of_numpy_are_numbers_in_metadata() -> None:
    metadata = {"i": np.int64(2**62 + 1), "f": np.float32(0.5), "d": np.float64(0.1), "b": np.True_, "s": np.str_("x")}
    assert json_object("metadata", metadata) == '{"i":4611686018427387905,"f":0.5,"d":0.1,"b":true,"s":"x"}'


class Circular(dict[str, object]):
    def __init__(self) -> None:
        super().__init__(self_=self)


@pytest.mark.parametrize(
    "metadata",
    [
        {"x": float("nan")},
        {"x": float("inf")},
        {"x": np.float32("nan")},
        {"x": object()},
        {"x": {1, 2}},
        {"x": b"bytes"},
        {"x": "\ud800"},
        {(1, 2): "x"},
        [1],
        "text",
        7,
        Circular(),
    ],
)
def test_what_is_not_json_is_refused(metadata: object) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^metadata is"):
        json_object("metadata", metadata)


def test_tuning_says_number_automatic_or_nothing() -> None:
    assert [tuned("ef_search", value) for value in (None, "auto", 1, np.int32(4096))] == [None, 0, 1, 4096]
    for wrong in (0, -1, True, 2.5):
        with pytest.raises(InvalidArgumentError, match="ef_search is"):
            tuned("ef_search", wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [-1, 2**64, True, 1.0, "10"])
def test_numbers_that_no_message_can_carry_are_refused(wrong: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="top_k is"):
        unsigned("top_k", wrong)
