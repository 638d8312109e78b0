//! One clean line out of an error body that may be a nested Python traceback.

/// The longest reason that is passed on, in characters.
pub const MAX_REASON_CHARS: usize = 300;

/// How much of a body is looked at: a traceback's last line is at its end.
const TAIL_BYTES: usize = 16 * 1024;

/// The last meaningful line of a text of Ray's (a job's `message` may hold a traceback too), without
/// control characters and without the name of a Python exception, bounded by [`MAX_REASON_CHARS`].
pub fn clean_reason(text: &str) -> String {
    clean(text.as_bytes())
}

/// The last meaningful line of `body`, without control characters and without the name of a Python
/// exception, at most [`MAX_REASON_CHARS`] long. Empty bodies give an honest "no reason given".
pub(crate) fn clean(body: &[u8]) -> String {
    let tail = &body[body.len().saturating_sub(TAIL_BYTES)..];
    let text = String::from_utf8_lossy(tail);
    let line = text
        .lines()
        .rev()
        .find(|line| is_meaningful(line))
        .unwrap_or("");
    let mut reason: String = without_exception_name(line.trim())
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_REASON_CHARS + 1)
        .collect();
    if reason.chars().count() > MAX_REASON_CHARS {
        reason = reason
            .chars()
            .take(MAX_REASON_CHARS - 1)
            .chain(['…'])
            .collect();
    }
    if reason.is_empty() {
        "no reason given".to_owned()
    } else {
        reason
    }
}

/// Words of Python's own around the frames of a traceback.
const PROSE: [&str; 3] = [
    "Traceback (most recent call last)",
    "The above exception was",
    "During handling of the above",
];

/// A text of Ray's without the frames of Python tracebacks in it (where in Ray it happened): what is left says what happened,
/// such as the output of `pip`. Its last part, of at most so many characters.
#[must_use]
pub fn without_frames(text: &str, most: usize) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut in_frame = false;
    for line in text.lines() {
        let body = line.trim_start();
        let indent = line.len() - body.len();
        if indent > 0 && body.starts_with("File \"") && body.contains(", line ") {
            in_frame = true;
        } else if in_frame && indent >= 4 {
            // The frame's source, and the marks below it.
        } else {
            in_frame = false;
            if !PROSE.iter().any(|p| line.contains(p)) {
                kept.push(line);
            }
        }
    }
    let kept = kept.join("\n");
    let kept = kept.trim();
    let skipped = kept.chars().count().saturating_sub(most);
    kept.chars().skip(skipped).collect()
}

/// Not indented (a frame or its source), not Python's own prose around tracebacks, not only dots.
fn is_meaningful(line: &str) -> bool {
    !line.starts_with([' ', '\t'])
        && line.chars().any(char::is_alphanumeric)
        && !PROSE.iter().any(|p| line.contains(p))
}

/// `ValueError: text` and `ray.exceptions.RuntimeEnvSetupError: text` are `text`.
fn without_exception_name(line: &str) -> &str {
    match line.split_once(": ") {
        Some((name, rest)) if is_exception_name(name) && !rest.trim().is_empty() => rest.trim(),
        _ => line,
    }
}

fn is_exception_name(name: &str) -> bool {
    let identifier = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_'));
    identifier
        && (name.ends_with("Error") || name.ends_with("Exception") || name.ends_with("Timeout"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_go_and_what_was_said_stays() {
        let text = "runtime_env setup failed: no environment.\n[Node 10.0.0.7] Traceback (most recent call last):\n  File \"ray/pip.py\", line 7, in setup\n    await run()\n    ^^^^^^^^^^^\nERROR: Could not find a version of nosuch\n    (from versions: none)\n\nDuring handling of the above exception, another exception occurred:\n  File \"ray/x.py\", line 1, in f\n    raise\nOSError: it ends\n";
        assert_eq!(
            without_frames(text, 4096),
            "runtime_env setup failed: no environment.\nERROR: Could not find a version of nosuch\n    (from versions: none)\n\nOSError: it ends"
        );
        assert_eq!(without_frames(text, 4), "ends");
        assert_eq!(
            without_frames("Job was intentionally stopped.", 99),
            "Job was intentionally stopped."
        );
    }

    #[test]
    fn the_innermost_sentence_of_a_nested_traceback_is_told() {
        let body = "Traceback (most recent call last):\n  File \"job_head.py\", line 421, in submit_job\n    resp = await f()\n           ^^^^^^\n  File \"x.py\", line 9\nRuntimeError: Request failed with status code 400: Traceback (most recent call last):\n  File \"job_agent.py\", line 46, in submit_job\n    raise ValueError(\nValueError: Job with submission_id a already exists. Please use a different submission_id.\n.\n";
        assert_eq!(
            clean(body.as_bytes()),
            "Job with submission_id a already exists. Please use a different submission_id."
        );
    }

    #[test]
    fn plain_text_is_kept_and_emptiness_is_said() {
        assert_eq!(clean(b"Job nope does not exist"), "Job nope does not exist");
        assert_eq!(clean(b""), "no reason given");
        assert_eq!(clean(b"\n \n...\n"), "no reason given");
        assert_eq!(
            clean(b"ray.exceptions.RuntimeEnvSetupError: no such package"),
            "no such package"
        );
    }

    #[test]
    fn control_characters_never_pass() {
        assert_eq!(clean(b"a\x1b[31mred\x07"), "a [31mred ");
    }

    proptest! {
        #[test]
        fn any_body_gives_one_bounded_line_that_is_no_traceback(body: Vec<u8>, lines in "(Traceback \\(most recent call last\\):\n|  File \"x\", line 1\n|[a-zé]{0,400}: [a-z]{0,9}\n){0,8}") {
            for body in [body.as_slice(), lines.as_bytes()] {
                let reason = clean(body);
                prop_assert!(!reason.is_empty() && reason.chars().count() <= MAX_REASON_CHARS);
                prop_assert!(!reason.chars().any(char::is_control) && !reason.contains("Traceback (most recent"));
            }
        }
    }
}
