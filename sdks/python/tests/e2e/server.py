"""The real server, as a program with a folder of its own."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from hyperspace import CollectionStats, HyperspaceClient

PATIENCE_S = 60.0

Got = TypeVar("Got")


class Server:
    """A process of the server, from the moment when it listens. It gets a port of its own unless it is told one."""

    def __init__(self, program: Path, data: Path, *, port: int = 0, more: Sequence[str | Path] = ()) -> None:
        self.program = program
        self.data = data
        # What a developer has set for a server of their own is not meant for this one.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HYPERSPACE_")}
        with Path(f"{data}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [program, "--listen", f"127.0.0.1:{port}", "--data-dir", data, *more],
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
        line = self.process.stdout.readline().decode() if readable else "nothing"
        found = re.fullmatch(r"hyperspace-server \S+ listening on https?://127\.0\.0\.1:(\d+) \(data: .*\)\n", line)
        if found is None:
            self.kill()
            raise AssertionError(f"the server said {line!r} and then\n{Path(f'{data}.log').read_text()}")
        self.port = int(found[1])

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Asks the server to end, which it does with code 0."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_S)
        assert code == 0, f"the server ended with {code}:\n{Path(f'{self.data}.log').read_text()}"
        self._forget()

    def kill(self) -> None:
        """Ends the server at once, as a crash would."""
        self.process.kill()
        self.process.wait(PATIENCE_S)
        self._forget()

    def again(self) -> Server:
        """Starts another process on the same folder and port."""
        return Server(self.program, self.data, port=self.port)

    def _forget(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.close()


def until(what: str, seconds: float, ask: Callable[[], Got | None]) -> Got:
    """Asks until there is an answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = ask()
        if answer is not None:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:g} s: {what}")


def settled(client: HyperspaceClient, collection: str, *, seconds: float = PATIENCE_S) -> CollectionStats:
    """Waits until no graph of the collection is being built."""

    def ask() -> CollectionStats | None:
        stats = client.stats().collections[collection]
        return None if stats.indexing else stats

    return until(f"the graphs of {collection}", seconds, ask)
