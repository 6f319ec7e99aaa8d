"""Targets, credentials, encryption, threads, closing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
import trustme

from hyperspace import ClosedError, HyperspaceClient, InvalidArgumentError, UnavailableError
from hyperspace._transport import Target
from tests.unit.fake import FakeServer


@pytest.mark.parametrize(
    ("text", "address", "is_loopback"),
    [
        ("localhost:50051", "localhost:50051", True),
        ("localhost", "localhost:50051", True),
        ("127.0.0.1:1", "127.0.0.1:1", True),
        ("127.9.9.9:1", "127.9.9.9:1", True),
        ("[::1]:1", "[::1]:1", True),
        ("[::1]", "[::1]:50051", True),
        ("db.example:443", "db.example:443", False),
        ("10.0.0.1", "10.0.0.1:50051", False),
        ("0.0.0.0:1", "0.0.0.0:1", False),
        ("[2001:db8::1]:1", "[2001:db8::1]:1", False),
        ("localhost.example:1", "localhost.example:1", False),
        ("127.0.0.1.example", "127.0.0.1.example:50051", False),
    ],
)
def test_targets_are_read(text: str, address: str, is_loopback: bool) -> None:
    assert Target.parse(text) == (address, is_loopback)


@pytest.mark.parametrize(
    "text",
    ["", ":1", "http://localhost:1", "localhost:port", "localhost:65536", "::1", "localhost:1/x", "localhost@evil:1"],
)
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="expected host:port"):
        HyperspaceClient(text)


def test_a_client_shows_its_target_and_not_its_key() -> None:
    with HyperspaceClient("localhost:1", api_key="secret") as client:
        assert repr(client) == "HyperspaceClient('localhost:1')"


def test_credentials_travel_with_every_call(server: FakeServer) -> None:
    with HyperspaceClient(server.target, api_key="k", user_id="u") as client:
        client.list_collections()
        client.stats()
    assert len(server.headers) == 2
    for headers in server.headers:
        assert (headers["x-api-key"], headers["x-hyperspace-user-id"]) == ("k", "u")
        assert str(headers["user-agent"]).startswith("hyperspace-python/")


def test_without_credentials_none_are_sent(server: FakeServer, client: HyperspaceClient) -> None:
    client.list_collections()
    assert not server.headers[0].keys() & {"x-api-key", "x-hyperspace-user-id"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "db.example:1", "api_key": "k"}, "in plain text"),
        ({"target": "0.0.0.0:1", "api_key": "k"}, "in plain text"),
        ({"api_key": ""}, "x-api-key has 0 characters"),
        ({"api_key": "k\n"}, "x-api-key has 2 characters"),
        ({"user_id": "jürgen"}, "x-hyperspace-user-id has 6 characters"),
        ({"root_certificates": b"..."}, "tls is False"),
        ({"retries": -1}, "retries is -1"),
        ({"timeout": 0}, "timeout is 0 s"),
        ({"timeout": float("nan")}, "timeout is nan s"),
    ],
)
def test_options_that_would_do_harm_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message) as raised:
        HyperspaceClient(**options)
    assert "k\n" not in str(raised.value)


def test_a_key_goes_anywhere_over_tls() -> None:
    HyperspaceClient("db.example:1", api_key="k", tls=True).close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def secure_server(authority: trustme.CA, host: str) -> FakeServer:
    issued = authority.issue_cert(host)
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    return FakeServer(grpc.ssl_server_credentials([(issued.private_key_pem.bytes(), chain)]))


def test_tls_carries_calls_and_keys(authority: trustme.CA) -> None:
    roots = authority.cert_pem.bytes()
    with (
        secure_server(authority, "127.0.0.1") as server,
        HyperspaceClient(server.target, api_key="k", tls=True, root_certificates=roots) as client,
    ):
        client.insert([1.0, 2.0], id=1)
        assert [hit.id for hit in client.search([1.0, 2.0])] == [1]
        assert {headers["x-api-key"] for headers in server.headers} == {"k"}


@pytest.mark.parametrize("host", ["127.0.0.1", "db.example"])
def test_tls_refuses_a_server_that_it_cannot_know(authority: trustme.CA, host: str) -> None:
    roots = trustme.CA().cert_pem.bytes() if host == "127.0.0.1" else authority.cert_pem.bytes()
    with (
        secure_server(authority, host) as server,
        HyperspaceClient(server.target, api_key="k", tls=True, root_certificates=roots, retries=0) as client,
        pytest.raises(UnavailableError),
    ):
        client.list_collections()
    assert server.seen == []


def test_a_proxy_of_the_environment_does_not_hear_what_is_said_to_this_machine(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("no_grpc_proxy", "")
    with HyperspaceClient(server.target, retries=0) as client:
        assert client.list_collections() == []


def test_threads_share_a_client(server: FakeServer, client: HyperspaceClient) -> None:
    server.make("notes", 1)

    def work(thread: int) -> list[float]:
        client.insert([float(thread)], id=thread, collection="notes")
        return [hit.distance for hit in client.search([float(thread)], collection="notes", top_k=1)]

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(work, range(64))) == [[0.0]] * 64
    assert client.count("notes") == 64


def test_a_closed_client_refuses_every_call(server: FakeServer) -> None:
    with HyperspaceClient(server.target) as client:
        client.list_collections()
    client.close()
    with pytest.raises(ClosedError, match=f"the client of {server.target} was closed"):
        client.list_collections()
    with pytest.raises(ClosedError):
        client.stats()
    with pytest.raises(ClosedError):
        client.upsert("notes", vectors=[[1.0]])
    assert len(server.seen) == 1


def test_closing_ends_calls_under_way(server: FakeServer) -> None:
    server.make("default", 1)
    arrived, answer = threading.Event(), threading.Event()

    def gate() -> None:
        arrived.set()
        answer.wait()

    server.gate = gate
    client = HyperspaceClient(server.target)
    with ThreadPoolExecutor(1) as threads:
        inserting = threads.submit(client.insert, [1.0])
        assert arrived.wait(20.0)
        client.close()
        with pytest.raises(ClosedError):
            inserting.result(20.0)
    answer.set()
