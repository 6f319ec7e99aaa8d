"""Turns the wire contract into Python while the package is built, so that nobody needs a protoc.

The contract is `native-server/proto` of the repository. A source distribution carries a copy in `proto`. The message
modules go to `src/hyperspace/_proto`, which git does not see; an editable installation uses them from there.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "hyperspace/v1"


class ContractHook(BuildHookInterface):  # type: ignore[type-arg]
    """Generates for a wheel, and copies for a source distribution."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Prepares what the build takes up."""
        contract = _contract(Path(self.root))
        if self.target_name == "sdist":
            build_data["force_include"][str(contract)] = "proto"
        else:
            _generate(contract, Path(self.root, "src/hyperspace/_proto"))


def _contract(root: Path) -> Path:
    """Returns the folder of the .proto files: the copy of a source distribution, or the repository's."""
    places = [root / "proto", root / "../../native-server/proto"]
    for place in places:
        if (place / PACKAGE).is_dir():
            return place.resolve()
    raise FileNotFoundError(f"no {PACKAGE}/*.proto below any of {[str(place) for place in places]}")


def _generate(contract: Path, out: Path) -> None:
    # Only here: a source distribution is made without the compiler.
    from grpc_tools import protoc  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as made:
        files = sorted(str(path) for path in (contract / PACKAGE).glob("*.proto"))
        if protoc.main(["protoc", f"-I{contract}", f"--python_out={made}", f"--pyi_out={made}", *files]) != 0:
            raise RuntimeError(f"protoc failed on {files}")
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        (out / "__init__.py").write_text('"""Messages of the wire contract, generated."""\n')
        for module in Path(made, PACKAGE).iterdir():
            # The modules import each other by the path of the .proto files, which is not where they are kept.
            text = module.read_text().replace("from hyperspace.v1 import", "from hyperspace._proto import")
            (out / module.name).write_text(text)
