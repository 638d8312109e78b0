"""Nothing is skipped silently: whatever form a test's "I could not" has, make test ends with it; and with failures."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
from test_summary import summary

REPORT = """<?xml version="1.0"?>
<testsuites><testsuite name="curb-ray">
  <testcase classname="curb-ray::contract" name="real_ray">
    <system-out>running 1 test
did not run: no real Ray (CURB_TEST_RAY is not set)
test real_ray ... ok</system-out>
    <system-err>Did not run against two heads &amp; a proxy</system-err>
  </testcase>
  <testcase classname="curb-core" name="all_good"><system-out>it did run</system-out></testcase>
  <testcase classname="e2e" name="needs_root"><skipped message="needs root"/></testcase>
  <testcase classname="e2e" name="without_words"><skipped/></testcase>
  <testcase classname="cgroup2" name="ladder::held"><failure message="ended after 90 s"/></testcase>
</testsuite></testsuites>"""


def test_skips_said_lines_and_failures_are_found_in_order_with_the_test_that_said_them(tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    report.write_text(REPORT)
    assert summary(report) == [
        "did not run: no real Ray (CURB_TEST_RAY is not set) (curb-ray::contract: real_ray)",
        "Did not run against two heads & a proxy (curb-ray::contract: real_ray)",
        "did not run: e2e: needs_root: needs root",
        "did not run: e2e: without_words: skipped",
        "failed: cgroup2: ladder::held",
    ]


def test_a_report_without_any_gives_no_lines(tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    report.write_text('<testsuites><testsuite><testcase name="a"/></testsuite></testsuites>')
    assert summary(report) == []
