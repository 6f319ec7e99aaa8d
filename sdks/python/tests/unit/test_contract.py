"""The table of calls and the models against the contract's own descriptors."""

from __future__ import annotations

import dataclasses

import pytest
from google.protobuf.descriptor import Descriptor, MethodDescriptor

from hyperspace import (
    Collection,
    CollectionStats,
    Follower,
    Hit,
    Key,
    NewKey,
    Point,
    Recall,
    Replication,
    SegmentStats,
    Snapshot,
    Stats,
    TenantStats,
    Token,
    VacuumReport,
)
from hyperspace import _rpc as rpc
from hyperspace._proto import admin_pb2, collections_pb2, points_pb2, types_pb2
from hyperspace._values import DURABILITIES, METRICS, QUANTIZATIONS, SCOPES

# A rebuild is not among Python's calls, nor is who leads among servers, nor the log, which is for the dashboard.
LEFT_OUT = {"Admin/Rebuild", "Admin/Log", "Admin/Promote", "Admin/RemoveFollower"}

METHODS: dict[str, MethodDescriptor] = {
    f"{service.name}/{method.name}": method
    for module in (admin_pb2, collections_pb2, points_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
CALLS = {call.name: call for call in vars(rpc).values() if isinstance(call, rpc.Rpc)}


def test_every_call_of_the_contract_is_in_the_table() -> None:
    assert CALLS.keys() == METHODS.keys() - LEFT_OUT


@pytest.mark.parametrize("name", CALLS)
def test_a_call_has_the_contract_s_types(name: str) -> None:
    call, method = CALLS[name], METHODS[name]
    assert call.request.DESCRIPTOR is method.input_type
    assert call.response.DESCRIPTOR is method.output_type
    assert call.streams == method.server_streaming
    assert not method.client_streaming
    assert call.path == f"/hyperspace.v1.{name}"


def test_what_would_happen_twice_is_not_repeated_blindly() -> None:
    assert {name for name, call in CALLS.items() if not call.repeatable} == {
        "Collections/Create",
        "Collections/Delete",
        "Admin/Snapshot",
        "Admin/CreateKey",
    }


@pytest.mark.parametrize(
    ("model", "messages"),
    [
        (Point, [types_pb2.Point.DESCRIPTOR]),
        (Hit, [points_pb2.Hit.DESCRIPTOR]),
        (Collection, [collections_pb2.Collection.DESCRIPTOR, collections_pb2.CollectionConfig.DESCRIPTOR]),
        (CollectionStats, [admin_pb2.CollectionStats.DESCRIPTOR]),
        (Stats, [admin_pb2.Stats.DESCRIPTOR]),
        (SegmentStats, [admin_pb2.SegmentStats.DESCRIPTOR]),
        (TenantStats, [admin_pb2.TenantStats.DESCRIPTOR]),
        (Replication, [admin_pb2.Replication.DESCRIPTOR]),
        (Follower, [admin_pb2.Follower.DESCRIPTOR]),
        (Snapshot, [admin_pb2.SnapshotResponse.DESCRIPTOR]),
        (Recall, [admin_pb2.MeasureRecallResponse.DESCRIPTOR]),
        (VacuumReport, [admin_pb2.VacuumResponse.DESCRIPTOR]),
        (Key, [admin_pb2.Key.DESCRIPTOR]),
        (NewKey, [admin_pb2.CreateKeyResponse.DESCRIPTOR]),
        (Token, [admin_pb2.CreateTokenResponse.DESCRIPTOR]),
    ],
)
def test_a_model_has_the_fields_of_its_message(model: type, messages: list[Descriptor]) -> None:
    there = {field.name for message in messages for field in message.fields}
    here = {field.name for field in dataclasses.fields(model)}
    # A configuration is a part of what describes a collection; no server covers text yet.
    assert there - here <= {"config", "text_fields"}
    assert here <= there


@pytest.mark.parametrize(
    ("words", "enum", "prefix"),
    [
        (METRICS, types_pb2.Metric, "METRIC_"),
        (QUANTIZATIONS, types_pb2.Quantization, "QUANTIZATION_"),
        (DURABILITIES, types_pb2.Durability, "DURABILITY_"),
        (SCOPES, admin_pb2.Scope, "SCOPE_"),
    ],
)
def test_words_are_the_contract_s_names(words: dict[str | None, int], enum: object, prefix: str) -> None:
    names = {number: name for name, number in enum.items()}  # type: ignore[attr-defined]
    nothing = {"METRIC_UNSPECIFIED", "SCOPE_UNSPECIFIED"}
    assert {names[number] for number in words.values()} | nothing >= set(names.values())
    for word, number in words.items():
        assert names[number] == prefix + (word or "unspecified").upper()
