#!/usr/bin/python3
"""Merges CycloneDX documents of npm into one: its components are theirs, each once, and so are their dependencies.

    dist-merge-sbom.py FILE...
"""

import json
import sys
from pathlib import Path

documents = [json.loads(Path(path).read_text()) for path in sys.argv[1:]]
merged = {**documents[0], "components": [], "dependencies": []}
merged["metadata"]["component"] = {"bom-ref": "hyperfarm-npm", "type": "application", "name": "hyperfarm-npm"}
for document in documents:
    for member, key in (("components", "bom-ref"), ("dependencies", "ref")):
        known = {entry[key] for entry in merged[member]}
        merged[member] += [entry for entry in document.get(member, []) if entry[key] not in known]
json.dump(merged, sys.stdout, indent=2)
