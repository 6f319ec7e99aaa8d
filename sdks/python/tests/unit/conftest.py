from __future__ import annotations

from collections.abc import Iterator

import pytest

from hyperspace import HyperspaceClient, _transport
from tests.unit.fake import FakeServer


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


@pytest.fixture
def client(server: FakeServer) -> Iterator[HyperspaceClient]:
    with HyperspaceClient(server.target) as connected:
        yield connected


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_transport, "_FIRST_PAUSE_S", 0.0)
