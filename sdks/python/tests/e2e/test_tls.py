"""Calls to the real server inside TLS."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from hyperspace import HyperspaceClient, UnavailableError
from tests.e2e.server import Server


def test_calls_and_keys_travel_inside_tls_to_a_server_that_can_be_known(program: Path, tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    server = Server(program, tmp_path / "data", more=["--tls-cert", certificate, "--tls-key", key])
    roots = authority.cert_pem.bytes()
    with HyperspaceClient(server.target, tls=True, root_certificates=roots) as client:
        made = client.create_key(["admin"], name="first")
    named = f"localhost:{server.port}"
    with HyperspaceClient(named, api_key=made.api_key, tls=True, root_certificates=roots) as client:
        client.insert([1.0, 2.0], id=1)
        assert [hit.id for hit in client.search([1.0, 2.0])] == [1]
    for wrong in [
        HyperspaceClient(server.target, tls=True, root_certificates=stranger.cert_pem.bytes(), retries=0),
        HyperspaceClient(server.target, retries=0, timeout=5),
    ]:
        with wrong, pytest.raises(UnavailableError):
            wrong.list_collections()
    server.stop()
