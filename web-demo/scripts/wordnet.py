"""WordNet's noun files, read just far enough for the demo's assets.

A synset is keyed by its byte offset in `data.noun` (WordNet's own key, also the point id in the demo). The files are
described in WordNet's wndb(5WN). This module knows the text format; not the model, and not what the demo picks.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator
from pathlib import Path

# wndb: lexicographer file numbers 3 to 28 are the nouns.
NOUN_FILES = """Tops act animal artifact attribute body cognition communication event feeling food group location motive
object person phenomenon plant possession process quantity relation shape state substance time""".split()
FIRST_NOUN_FILE = 3


@dataclasses.dataclass
class Synset:
    """One noun meaning: its words, its gloss and where it hangs in the hypernym graph."""

    offset: int
    lemmas: list[str]
    gloss: str
    file: int
    """Index into NOUN_FILES."""
    hypernyms: list[int]
    """Offsets of hypernyms and instance hypernyms."""
    is_instance: bool
    tags: int = 0
    """How often the meaning occurs in WordNet's sense-tagged corpus."""
    sense: int = 99
    """The least sense number of its lemmas: 1 when it is some word's most usual meaning."""
    depth: int = 0
    """The shortest way to the root, in hypernym steps."""

    def text(self) -> str:
        """The text that is embedded."""
        return ", ".join(self.lemmas) + ": " + self.gloss


def read_licence(dict_dir: Path) -> str:
    """Returns the licence that heads every WordNet data file, without its line numbers."""
    lines: list[str] = []
    with open(dict_dir / "data.noun", encoding="latin-1") as file:
        for line in file:
            if not line.startswith("  "):
                break
            lines.append(line.strip().partition(" ")[2].strip())
    return "\n".join(lines) + "\n"


def read_nouns(dict_dir: Path) -> dict[int, Synset]:
    """Reads every noun synset, with tag counts, sense numbers and depths."""
    nouns = {synset.offset: synset for synset in _parse(dict_dir / "data.noun")}
    with open(dict_dir / "index.sense", encoding="latin-1") as file:
        for line in file:
            key, offset, sense, count = line.split()
            if key.split("%")[1].startswith("1"):
                synset = nouns[int(offset)]
                synset.tags += int(count)
                synset.sense = min(synset.sense, int(sense))
    _set_depths(nouns)
    return nouns


def descendants(nouns: dict[int, Synset], root: int) -> list[int]:
    """Returns the offsets of `root` and of everything below it, in order of offset."""
    children = _children(nouns)
    seen = {root}
    queue = collections.deque([root])
    while queue:
        for child in children[queue.popleft()]:
            if child not in seen:
                seen.add(child)
                queue.append(child)
    return sorted(seen)


def _parse(path: Path) -> Iterator[Synset]:
    with open(path, encoding="latin-1") as file:
        for line in file:
            if line.startswith("  "):
                continue
            head, _, gloss = line.partition("|")
            fields = head.split()
            words_end = 4 + 2 * int(fields[3], 16)
            pointers = fields[words_end + 1 :]
            hypernyms: list[int] = []
            is_instance = False
            for i in range(int(fields[words_end])):
                symbol, target, part_of_speech = pointers[4 * i : 4 * i + 3]
                if symbol in ("@", "@i") and part_of_speech == "n":
                    hypernyms.append(int(target))
                    is_instance |= symbol == "@i"
            yield Synset(
                offset=int(fields[0]),
                lemmas=[word.replace("_", " ") for word in fields[4:words_end:2]],
                gloss=gloss.strip(),
                file=int(fields[1]) - FIRST_NOUN_FILE,
                hypernyms=hypernyms,
                is_instance=is_instance,
            )


def _children(nouns: dict[int, Synset]) -> dict[int, list[int]]:
    children: dict[int, list[int]] = collections.defaultdict(list)
    for synset in nouns.values():
        for hypernym in synset.hypernyms:
            children[hypernym].append(synset.offset)
    return children


def _set_depths(nouns: dict[int, Synset]) -> None:
    """Walks breadth first from the roots, so that the first visit is along a shortest way."""
    children = _children(nouns)
    queue = collections.deque(synset.offset for synset in nouns.values() if not synset.hypernyms)
    seen = set(queue)
    while queue:
        offset = queue.popleft()
        for child in children[offset]:
            if child not in seen:
                seen.add(child)
                nouns[child].depth = nouns[offset].depth + 1
                queue.append(child)
