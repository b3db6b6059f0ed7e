"""The licences of all dependencies, and a bill of materials.

Both come from requirements.lock and the metadata of the installed packages. Known vulnerabilities
are checked by `make audit`, which queries an advisory database.

    python .ci/supply_chain.py licences     name, version and licence, a line each
    python .ci/supply_chain.py sbom         CycloneDX 1.5 as JSON
"""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements.lock"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_ELSEWHERE = "not installed here (for another platform or Python)"
_UNSTATED = "not stated"


def pinned() -> dict[tuple[str, str], list[str]]:
    """The hashes of each package of the lock, by name and version; a Python may have its own."""
    found: dict[tuple[str, str], list[str]] = {}
    hashes: list[str] = []
    for line in LOCK.read_text(encoding="utf-8").splitlines():
        if match := _PIN.match(line):
            hashes = found.setdefault((match[1].lower(), match[2]), [])
        hashes.extend(_HASH.findall(line))
    return found


def licence(name: str) -> str:
    """What the installed package says of its licence, in one line."""
    try:
        metadata = distribution(name).metadata
    except PackageNotFoundError:
        return _ELSEWHERE
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classified = [
        each.rpartition(" :: ")[2]
        for each in metadata.get_all("Classifier") or ()
        if each.startswith("License :: ") and each != "License :: OSI Approved"
    ]
    if classified:
        return " AND ".join(classified)
    stated = (metadata.get("License") or "").strip().splitlines()
    return stated[0] if stated else _named_by_its_file(distribution(name))


def _named_by_its_file(found: Distribution) -> str:
    for file in found.files or ():
        if re.match(r"(licen[cs]e|copying)", file.name, re.IGNORECASE):
            lines = file.read_text(encoding="utf-8").split("\n")
            return next((line.strip() for line in lines if line.strip()), _UNSTATED)
    return _UNSTATED


def bill_of_materials() -> dict[str, object]:
    """The lock as CycloneDX 1.5."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "elt-assets"}},
        "components": [
            {
                "type": "library",
                "name": name,
                "version": version,
                "purl": f"pkg:pypi/{name}@{version}",
                # One for each file that the index offers; one of them is installed.
                "properties": [{"name": "sha256", "value": value} for value in hashes],
                "licenses": [{"license": {"name": licence(name)}}],
            }
            for (name, version), hashes in sorted(pinned().items())
        ],
    }


def main(arguments: list[str]) -> int:
    """Print what is asked for; 1 if an installed package does not state its licence."""
    if arguments == ["sbom"]:
        print(json.dumps(bill_of_materials(), indent=2))  # noqa: T201
        return 0
    if arguments != ["licences"]:
        print(__doc__, file=sys.stderr)  # noqa: T201
        return 2
    found = {f"{name}=={version}": licence(name) for name, version in sorted(pinned())}
    for package, stated in found.items():
        print(f"{package}  {stated}")  # noqa: T201
    return int(_UNSTATED in found.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
