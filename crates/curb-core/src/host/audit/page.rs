//! The reference of the rules, as text.

use std::fmt::Write;

use super::Rule;

/// What stands before the rules in `docs/audit.md`.
const HEAD: &str = include_str!("page.md");

/// The whole page `docs/audit.md`.
#[must_use]
pub fn page() -> String {
    let mut out = HEAD.to_owned();
    out.push_str("\n## Rules\n\n| rule | severity | what it finds |\n| --- | --- | --- |\n");
    for rule in Rule::ALL {
        let (id, severity, title) = (rule.id(), rule.severity(), rule.title());
        // Writing to a string cannot fail.
        let _ = writeln!(out, "| [{id}](#{id}) | {severity} | {title} |");
    }
    for rule in Rule::ALL {
        let _ = write!(
            out,
            "\n### {}\n\n{}.\n\n{}\n\n**Mend it:** {}\n",
            rule.id(),
            rule.title(),
            rule.why(),
            rule.mend()
        );
    }
    out
}

/// One rule for a terminal.
#[must_use]
pub fn one_rule(rule: Rule) -> String {
    format!(
        "{} ({})\n\n{}.\n{}\n\nMend it: {}\n",
        rule.id(),
        rule.severity(),
        rule.title(),
        rule.why(),
        rule.mend()
    )
}
