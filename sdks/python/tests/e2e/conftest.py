from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperspace import HyperspaceClient
from tests.e2e.server import Server


@pytest.fixture(scope="session")
def program() -> Path:
    """The server that `HS_SERVER` names."""
    named = os.environ.get("HS_SERVER")
    if not named:
        pytest.skip("no server: set HS_SERVER to target/release/hyperspace-server")
    path = Path(named).resolve()
    if not path.is_file():
        pytest.fail(f"HS_SERVER names {path}, which is not there", pytrace=False)
    return path


@pytest.fixture(scope="module")
def server(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for the tests of a module, which use collections of different names."""
    running = Server(program, tmp_path_factory.mktemp("server") / "data")
    yield running
    running.stop()


@pytest.fixture
def client(server: Server) -> Iterator[HyperspaceClient]:
    with HyperspaceClient(server.target) as connected:
        yield connected


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A collection's name that no other test uses."""
    words: str = request.node.name
    return "".join(letter if letter.isalnum() else "-" for letter in words.lower() if letter.isascii())[-64:]
