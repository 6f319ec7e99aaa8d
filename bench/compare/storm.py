"""What a tenant that searches as fast as it can costs another one: the row of a server's fairness."""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
from typing import TYPE_CHECKING

from hyperspace import HyperspaceClient

from measure import say
from served import BATCH, COLLECTION, Server

if TYPE_CHECKING:
    from pathlib import Path

    from data import DataSet

CONNECTIONS = 32
SECONDS = 5
# The storm begins before the other tenant is measured, and ends after.
MARGIN = 2


def storm(data: DataSet, program: Path, rounds: int) -> None:
    """How much later one tenant is answered, at one connection, while another one searches at many."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(program, folder)
        for tenant in ("calm", "storm"):
            with HyperspaceClient(server.address, user_id=tenant) as client:
                client.create_collection(COLLECTION, data.dimension, data.metric)
                for first in range(0, len(data.base), BATCH):
                    rows = data.base[first : first + BATCH]
                    client.upsert(COLLECTION, vectors=rows, ids=range(first, first + len(rows)))
                server.settle(client)
        for kind in ([], ["--exact"]):
            _report(kind, [_round(server, program, kind) for _ in range(rounds)])
        server.stop()


def _bench(server: Server, program: Path, tenant: str, words: list[str]) -> subprocess.Popen[str]:
    cli = program.with_name("hyperspace-cli")
    command = [cli, "--server", server.address, "--user-id", tenant, "--json", "bench", COLLECTION, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _figures(process: subprocess.Popen[str]) -> dict[str, float]:
    out, _ = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the bench ended with exit code {process.returncode}")
    return json.loads(out)


def _round(
    server: Server, program: Path, kind: list[str]
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    calm = ["--seconds", str(SECONDS), *kind]
    alone = _figures(_bench(server, program, "calm", calm))
    wild = ["--connections", str(CONNECTIONS), "--seconds", str(SECONDS + 2 * MARGIN), *kind]
    storming = _bench(server, program, "storm", wild)
    try:
        storming.wait(MARGIN)
    except subprocess.TimeoutExpired:
        beside = _figures(_bench(server, program, "calm", calm))
        return alone, beside, _figures(storming)
    raise RuntimeError("the storm ended before it began")


def _report(kind: list[str], seen: list[tuple[dict[str, float], dict[str, float], dict[str, float]]]) -> None:
    alone, beside, storming = zip(*seen, strict=True)

    def middle(figures: tuple[dict[str, float], ...], name: str) -> float:
        return statistics.median(figure[name] for figure in figures)

    growth = statistics.median(b["p99_ms"] / a["p99_ms"] for a, b in zip(alone, beside, strict=True))
    say(f"  {'exact searches' if kind else 'searches'}, {CONNECTIONS} connections of one tenant beside one of another:")
    say(f"    alone  p50 {middle(alone, 'p50_ms'):7.2f} ms   p99 {middle(alone, 'p99_ms'):7.2f} ms")
    say(f"    beside p50 {middle(beside, 'p50_ms'):7.2f} ms   p99 {middle(beside, 'p99_ms'):7.2f} ms ({growth:.2f} x)")
    rate, refused = middle(storming, "searches_per_second"), sum(figure["refused"] for figure in beside)
    say(f"    the storm gets {rate:.0f} searches/s; of the other one {refused} were refused")
