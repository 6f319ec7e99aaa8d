"""Keys against the real server: from the first one to a token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperspace import (
    HyperspaceClient,
    InvalidArgumentError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from tests.e2e.server import Server


@pytest.fixture
def own(program: Path, tmp_path: Path) -> Iterator[Server]:
    """A server whose keys are no other test's."""
    running = Server(program, tmp_path / "data")
    yield running
    running.stop()


def test_keys_from_the_first_one_to_a_token(own: Server) -> None:
    with HyperspaceClient(own.target) as nobody:
        with pytest.raises(InvalidArgumentError, match="first key"):
            nobody.create_key(["read"], tenant="ada")
        first = nobody.create_key(["admin"], name="first")
        with pytest.raises(UnauthenticatedError, match="needs a key"):
            nobody.list_collections()
    with HyperspaceClient(own.target, api_key=first.api_key) as admin:
        adas = admin.create_key(["read", "write"], tenant="ada", collections=["notes"], expires_in=3600)
        assert {key.id: key for key in admin.list_keys()} == {key.id: key for key in (first.key, adas.key)}
        assert (adas.key.tenant, adas.key.scopes, adas.key.collections) == ("ada", ("read", "write"), ("notes",))
        with HyperspaceClient(own.target, api_key=adas.api_key) as ada:
            ada.insert([1.0, 2.0], id=7, collection="notes")
            with pytest.raises(PermissionDeniedError, match="`other`"):
                ada.insert([1.0, 2.0], id=7, collection="other")
            with pytest.raises(PermissionDeniedError, match="`admin`"):
                ada.list_keys()
            token = ada.create_token(["read"], ttl=60)
        with HyperspaceClient(own.target, api_key=token.token) as page:
            assert page.count("notes") == 1
            with pytest.raises(PermissionDeniedError, match="`write`"):
                page.delete("notes", ids=7)
        with HyperspaceClient(own.target, api_key=first.api_key, user_id="ada") as acting:
            assert acting.count("notes") == 1
        assert admin.revoke_key(adas.key.id)
        assert not admin.revoke_key(adas.key.id)
    for gone in (adas.api_key, token.token):
        with HyperspaceClient(own.target, api_key=gone) as late, pytest.raises(UnauthenticatedError, match="not valid"):
            late.count("notes")
