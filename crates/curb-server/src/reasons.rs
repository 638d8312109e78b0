//! The pages about reason codes and kinds of errors, as they are in the documents.

macro_rules! pages {
    ($($code:literal),+ $(,)?) => {
        /// The page of a code, as Markdown.
        #[must_use]
        pub fn page(code: &str) -> Option<&'static str> {
            match code {
                $($code => Some(include_str!(concat!("../../../docs/reasons/", $code, ".md"))),)+
                _ => None,
            }
        }
    };
}

pages!(
    "job-type",
    "cluster-access",
    "per-job-limit",
    "duration-limit",
    "duration-needed",
    "priority-limit",
    "concurrent-limit",
    "jobs-limit",
    "queued-limit",
    "submit-rate",
    "budget",
    "capacity",
    "capacity-unknown",
    "guarantee",
    "borrowing",
    "turn",
    "start-rate",
    "cluster-down",
    "bad-request",
    "bad-framing",
    "head-too-large",
    "target-too-long",
    "http-version",
    "expectation",
    "request-timeout",
    "bad-path",
    "bad-host",
    "unknown-host",
    "cross-site",
    "body-too-large",
    "body-too-slow",
    "body-broken",
    "too-many-large-bodies",
    "not-signed-in",
    "forbidden",
    "not-found",
    "method-not-allowed",
    "conflict",
    "too-large",
    "bad-policy",
    "not-started",
    "outcome-unknown",
    "journal-not-writable",
    "not-ready",
    "unavailable",
    "too-many-logs",
    "too-many-tails",
    "packages-of-user-full",
    "packages-full",
    "packages-not-writable",
    "agent-other-node",
    "agent-old-report",
    "dashboard",
    "internal",
    "server-starting",
    "server-restarting",
    "server-paused",
    "server-over-limit",
    "server-stopping",
    "server-down",
    "server-unreachable",
    "server-died",
    "server-broke-off",
    "killed-the-server",
    "front-queue-full",
    "front-client-share",
    "front-deadline",
    "front-upgrade",
);

#[cfg(test)]
mod tests {
    use super::*;

    fn is_whole(code: &str) {
        let page = page(code).unwrap_or_else(|| panic!("{code} has no page"));
        assert!(page.starts_with(&format!("# {code}\n")), "{code}");
        for part in ["## What it means", "## What to do"] {
            assert!(page.contains(part), "{code}: {part}");
        }
        assert!(page.lines().all(|l| !l.ends_with(' ')), "{code}");
    }

    #[test]
    fn every_reason_code_and_every_kind_of_error_has_a_page() {
        let codes = curb_core::decide::Code::ALL.map(|c| c.as_str());
        let kinds = curb_api::Kind::ALL.iter().map(|k| k.code());
        codes.into_iter().chain(kinds).for_each(is_whole);
        assert_eq!(page("../secrets"), None);
    }

    #[test]
    fn no_page_lies_there_for_nothing() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reasons");
        for entry in std::fs::read_dir(folder).expect("the pages") {
            let name = entry
                .expect("a page")
                .file_name()
                .into_string()
                .expect("a name");
            let code = name.strip_suffix(".md").expect("Markdown");
            assert!(page(code).is_some(), "{name} is not served");
        }
    }
}
