"""Prints what is installed beside this Python, and Debian's packages, as a CycloneDX 1.5 bill of materials.

python tools/sbom.py > sbom.json             # the image has its own in /opt/deepfake/sbom.json
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys
from typing import Any
from urllib.parse import quote


def component(kind: str, name: str, version: str) -> dict[str, Any]:
    """A component with its package URL (purl)."""
    purl = f"pkg:{kind}/{quote(name)}@{quote(version)}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def components() -> list[dict[str, Any]]:
    found = {}
    for package in importlib.metadata.distributions():
        name = (package.metadata["Name"] or "").lower().replace("_", "-")
        if name:
            entry = component("pypi", name, package.version)
            if package.metadata["License"]:
                entry["licenses"] = [{"license": {"name": package.metadata["License"].splitlines()[0][:200]}}]
            found[entry["purl"]] = entry
    if shutil.which("dpkg-query"):
        command = ["dpkg-query", "-W", "-f", "${Package} ${Version}\\n"]
        for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
            name, version = line.split(" ", 1)
            entry = component("deb/debian", name, version)
            found[entry["purl"]] = entry
    return [found[purl] for purl in sorted(found)]


def main() -> int:
    content = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": components()}
    json.dump(content, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
