"""Prints what tests did not run, from JUnit files: those that a runner skipped, and the lines "did not run: ..." that a
test printed because something it needs was not there. Nothing is skipped silently: scripts/test.sh ends with these."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

_SAID = re.compile(r"did not run\b.*", re.IGNORECASE)


def did_not_run(report: Path) -> list[str]:
    """One line for each, in the order of the report."""
    found: dict[str, None] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname', '')}: {case.get('name', '')}"
        if (skipped := case.find("skipped")) is not None:
            found[f"did not run: {name}: {skipped.get('message') or 'skipped'}"] = None
        for stream in ("system-out", "system-err"):
            for text in case.iterfind(stream):
                found |= {f"{m[0].strip()} ({name})": None for m in _SAID.finditer(text.text or "")}
    return list(found)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        for line in did_not_run(Path(argument)):
            print(line)
