"""The rows that compare graphs: search at equal recall, and building graphs of equal recall."""

from __future__ import annotations

import statistics
from functools import partial
from typing import TYPE_CHECKING

from measure import by_turns, ratio, say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from data import DataSet
    from ours import Ours
    from peers import Contestant

MOST_EF = 2048
# The width of a candidate list at which graphs are compared.
BUILD_EF = 64
# What ours is built with until it is as good as a peer's.
EF_CONSTRUCTIONS = (24, 32, 40, 48, 64, 80, 100, 130, 160, 200)


def least_ef(contestant: Contestant, data: DataSet, target: float) -> int | None:
    """The least list of candidates with which a recall is reached, up to 2 %."""
    low, high = 9, 16
    while data.recall(contestant.search(high)[0]) < target:
        low, high = high, 2 * high
        if high > MOST_EF:
            return None
    while high - low > max(1, high // 50):
        middle = (low + high) // 2
        if data.recall(contestant.search(middle)[0]) < target:
            low = middle
        else:
            high = middle
    return high


def cost(contestant: Contestant, ef: int) -> float:
    """CPU seconds of all queries."""
    return contestant.search(ef)[1]


def search(
    data: DataSet, ours: Contestant, others: Sequence[Contestant], targets: Sequence[float], rounds: int
) -> None:
    """Searches at equal recall."""
    contestants = [ours, *others]
    for contestant in contestants:
        seconds = contestant.build()
        say(f"  {contestant.name}: built in {seconds:.1f} CPU-s")
    say(f"  {'recall@10':>9} {'':24} {'ef':>5} {'reached':>8} {'CPU us':>8} {'distances':>9} {'x ours':>7}")
    for target in targets:
        widths = [least_ef(contestant, data, target) for contestant in contestants]
        able = [(c, ef) for c, ef in zip(contestants, widths, strict=True) if ef is not None]
        recalls = [data.recall(c.search(ef)[0]) for c, ef in able]
        distances = [c.distances for c, _ in able]
        costs = by_turns(rounds, [partial(cost, c, ef) for c, ef in able])
        for (c, ef), recall, count, spent in zip(able, recalls, distances, costs, strict=True):
            micros = statistics.median(spent) / len(data.queries) * 1e6
            counted = f"{count:.0f}" if count else ""
            times = f"{ratio(spent, costs[0]):.2f}" if c is not ours and able[0][0] is ours else ""
            say(f"  {target:>9} {c.name:24} {ef:>5} {recall:>8.4f} {micros:>8.1f} {counted:>9} {times:>7}")
        for contestant, ef in zip(contestants, widths, strict=True):
            if ef is None:
                say(f"  {target:>9} {contestant.name:24} does not reach it with ef = {MOST_EF}")


def build(data: DataSet, make_ours: Callable[[int], Contestant], others: Sequence[Contestant], rounds: int) -> None:
    """Builds graphs of equal recall: for each peer, ours of the least ef_construction that is as good as its."""
    say(f"  {'':24} {'recall@10':>9} {'CPU s':>8} {'inserts/s':>9} {'x ours':>7}   (recall at ef {BUILD_EF})")
    for peer in others:
        peer.build()
        reached = data.recall(peer.search(BUILD_EF)[0])
        for ef_construction in EF_CONSTRUCTIONS:
            ours = make_ours(ef_construction)
            ours.build()
            recall = data.recall(ours.search(BUILD_EF)[0])
            if recall >= reached:
                break
            ours.close()
        else:
            say(f"  ours does not reach the {reached:.4f} of {peer.name} with efC = {EF_CONSTRUCTIONS[-1]}")
            peer.close()
            continue
        costs = by_turns(rounds, [ours.build, peer.build])
        for contestant, its_recall, spent in ((ours, recall, costs[0]), (peer, reached, costs[1])):
            seconds = statistics.median(spent)
            times = f"{ratio(spent, costs[0]):.2f}" if contestant is peer else ""
            say(
                f"  {contestant.name:24} {its_recall:>9.4f} {seconds:>8.2f} {len(data.base) / seconds:>9.0f} {times:>7}"
            )
        ours.close()
        peer.close()


def build_by_hands(data: DataSet, ours: Ours, rounds: int) -> None:
    """Times the same build node by node, in batches on one thread and on two.

    The least of all rounds counts, since who else uses the machine takes whole cores from the second thread.
    """
    say(f"  {'':24} {'clock s':>8} {'CPU s':>8} {'recall@10':>9} {'distances':>9}   (recall at ef {BUILD_EF})")
    least: dict[int | None, tuple[float, float]] = {}
    ways = (None, 1, 2)
    for _ in range(rounds):
        for hands in ways:
            clock, cpu = ours.build_with(hands)
            before = least.get(hands, (clock, cpu))
            least[hands] = min(before[0], clock), min(before[1], cpu)
    for hands in ways:
        ours.build_with(hands)
        recall = data.recall(ours.search(BUILD_EF)[0])
        name = "node by node" if hands is None else f"in batches, {hands} threads"
        clock, cpu = least[hands]
        say(f"  {name:24} {clock:>8.2f} {cpu:>8.2f} {recall:>9.4f} {ours.distances or 0:>9.0f}")
    say(f"  two threads are {least[1][0] / least[2][0]:.2f} times as quick as one")
    ours.close()


def compare_metrics(rows: Sequence[tuple[Contestant, DataSet]], target: float, rounds: int) -> None:
    """The same recall under different metrics; the ratio is to the last one."""
    for contestant, _ in rows:
        contestant.build()
    widths = [least_ef(contestant, data, target) or MOST_EF for contestant, data in rows]
    recalls = [data.recall(c.search(ef)[0]) for (c, data), ef in zip(rows, widths, strict=True)]
    costs = by_turns(rounds, [partial(cost, c, ef) for (c, _), ef in zip(rows, widths, strict=True)])
    for (_, data), ef, recall, spent in zip(rows, widths, recalls, costs, strict=True):
        micros = statistics.median(spent) / len(data.queries) * 1e6
        times = ratio(spent, costs[-1])
        say(f"  {data.metric:10} ef {ef:>4} recall {recall:.4f} {micros:>8.1f} CPU us {times:>6.2f} x l2")
