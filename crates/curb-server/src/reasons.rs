//! The pages about reason codes, as they are in the documents.

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
    "guarantee",
    "borrowing",
    "turn",
    "start-rate",
    "cluster-down",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_code_has_a_page_that_begins_with_its_name() {
        for code in curb_core::decide::Code::ALL {
            let page = page(code.as_str()).expect("a page");
            assert!(page.starts_with(&format!("# {code}\n")), "{code}");
            assert!(page.contains("## What to do"), "{code}");
        }
        assert_eq!(page("../secrets"), None);
    }
}
