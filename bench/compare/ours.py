"""Our engine as a contestant: the program `ours` of this crate, driven line by line."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from data import DataSet

PROGRAM = "target/release/ours"


class Ours:
    """The engine in a process of its own, on one thread but for `build_with`."""

    def __init__(
        self, root: Path, data: DataSet, *, quantization: str = "none", ef_construction: int | None = None
    ) -> None:
        self.name = "ours" if quantization == "none" else f"ours {quantization}"
        if ef_construction:
            self.name += f" efC={ef_construction}"
        self.distances: float | None = None
        self._settings = {"metric": data.metric, "quantization": quantization, "ef_construction": ef_construction}
        self._queries = len(data.queries)
        self._process = subprocess.Popen([root / PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        base, queries = data.files(root)
        self._ask({"load": {"base": str(base), "queries": str(queries)}})

    def build(self) -> float:
        """Builds the index anew and returns the CPU seconds it took."""
        return self._ask({"build": self._settings})["cpu_nanos"] / 1e9

    def build_with(self, hands: int | None) -> tuple[float, float]:
        """Builds the index anew, node by node or in batches by so many threads; seconds by the clock and of the CPU."""
        answer = self._ask({"build": {**self._settings, "hands": hands}})
        return answer["wall_nanos"] / 1e9, answer["cpu_nanos"] / 1e9

    def search(self, ef: int) -> tuple[NDArray[np.int64], float]:
        """Asks all queries; the rows found and CPU seconds."""
        answer = self._ask({"search": {"top_k": 10, "ef": ef}})
        self.distances = answer["distances"] / self._queries
        return np.array(answer["ids"], dtype=np.int64), answer["cpu_nanos"] / 1e9

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()

    def _ask(self, command: dict[str, Any]) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the process has no pipes")
        stdin.write(json.dumps(command) + "\n")
        stdin.flush()
        answer = json.loads(stdout.readline())
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {command}: {answer['error']}")
        return answer
