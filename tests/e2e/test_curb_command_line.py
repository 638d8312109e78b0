"""What somebody sees who submits with `curb submit`: the same path as Ray's client takes, to a real Ray."""

from __future__ import annotations

from pathlib import Path

from curbserver import User


def test_a_job_is_submitted_with_what_the_flags_say_and_followed_to_its_end(user: User) -> None:
    done = user.curb(
        "submit", "--id", "curb-submit-flags", "--cpu", "2", "--duration", "10m", "--",
        "sh", "-c", "echo from inside; exit 0", seconds=90,
    ).must()  # fmt: skip
    assert "from inside" in done.stdout
    job = user.ask("GET", "/curb/v1/jobs/curb-submit-flags").must().json
    assert (job["request"]["cpu"], job["duration"], job["state"]) == (2000, 600_000, "succeeded")
    assert user.client().get_job_info("curb-submit-flags").status == "SUCCEEDED"


def test_a_job_that_fails_ends_curb_submit_with_1_and_its_log_is_shown(user: User) -> None:
    failed = user.curb("submit", "--", "sh", "-c", "echo about to fail; exit 3", seconds=90).must(1)
    assert "about to fail" in failed.stdout


def test_a_directory_goes_with_it(user: User, tmp_path: Path) -> None:
    (tmp_path / "word.txt").write_text("carried along\n")
    done = user.curb("submit", "--working-dir", str(tmp_path), "--", "cat", "word.txt", seconds=90).must()
    assert "carried along" in done.stdout


def test_a_refusal_has_its_numbers_and_an_exit_code_of_its_own(user: User) -> None:
    refused = user.curb("submit", "--cpu", "4", "--", "true")
    assert refused.status == 3, refused
    assert "4 CPU asked, over by 1 CPU" in " ".join(refused.stderr.split())


def test_a_job_is_stopped_from_the_command_line(user: User) -> None:
    user.curb("submit", "--id", "curb-submit-long", "--no-wait", "--", "sleep", "600").must()
    user.until("curb-submit-long", "running", 60)
    user.curb("jobs", "stop", "curb-submit-long", "--why", "a test").must()
    user.until("curb-submit-long", "stopped", 60)
    assert "a test" in str(user.client().get_job_info("curb-submit-long").message)
