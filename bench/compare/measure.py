"""What every row does: work by turns, medians and ratios, lines of a table."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def say(text: str) -> None:
    """Prints at once, also into a pipe."""
    print(text, flush=True)


def by_turns(rounds: int, work: Sequence[Callable[[], float]]) -> list[list[float]]:
    """Runs every piece of work in every round, from the front and from the back by turns; the costs of each."""
    costs: list[list[float]] = [[] for _ in work]
    for number in range(rounds):
        for at in range(len(work)) if number % 2 == 0 else reversed(range(len(work))):
            costs[at].append(work[at]())
    return costs


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """How many times as much they cost: the median over the rounds."""
    return statistics.median(t / o for t, o in zip(theirs, ours, strict=True))
