"""Programs that users are shown, run statement by statement."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

README = Path(__file__).parent.parent / "README.md"

# What the contract promises, word for word.
CONTRACT = """
from hyperspace import HyperspaceClient

client = HyperspaceClient("localhost:50051")                      # api_key=, user_id=, timeout=, tls=
client.insert(vector=[0.1] * 8, metadata={"category": "tech"})     # collection="default" is made on first insert (l2, f32, its dimension); returns the id
results = client.search(vector=[0.11] * 8, top_k=5)                # [Hit(id, distance, metadata)]
client.create_collection("nouns", dimension=384, metric="cosine", quantization="scalar_i8")
client.upsert("nouns", ids=ids, vectors=numpy_array, metadata=rows)     # batched by bytes; progress=True shows a bar
client.search(vector=q, collection="nouns", top_k=10, filter={"lexname": "noun.plant", "depth": {"$gte": 8}})
"""  # noqa: E501


def readme() -> str:
    """All of the README's Python, one block after another."""
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == README.read_text().count("```python")
    return "\n".join(blocks)


def statements(program: str, target: str) -> Iterator[tuple[str, CodeType]]:
    """Yields a program's statements, as text and compiled. Only the server's address is another one."""
    assert "localhost:50051" in program
    for statement in ast.parse(program.replace("localhost:50051", target)).body:
        module = ast.Module([statement], type_ignores=[])
        yield ast.unparse(statement), compile(module, "<program>", "exec")
