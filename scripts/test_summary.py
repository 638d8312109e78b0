"""Prints what a person wants to know last, from JUnit files: which tests failed, and which did not run: those that a
runner skipped, and the lines "did not run: ..." that a test printed because something it needs was not there. Nothing
is skipped silently: scripts/test.sh ends with these."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

_SAID = re.compile(r"did not run\b.*", re.IGNORECASE)


def summary(report: Path) -> list[str]:
    """One line for each, in the order of the report, what did not run first."""
    found: dict[str, None] = {}
    failed: dict[str, None] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname', '')}: {case.get('name', '')}"
        if (skipped := case.find("skipped")) is not None:
            found[f"did not run: {name}: {skipped.get('message') or 'skipped'}"] = None
        if case.find("failure") is not None or case.find("error") is not None:
            failed[f"failed: {name}"] = None
        for stream in ("system-out", "system-err"):
            for text in case.iterfind(stream):
                found |= {f"{m[0].strip()} ({name})": None for m in _SAID.finditer(text.text or "")}
    return [*found, *failed]


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        for line in summary(Path(argument)):
            print(line)
