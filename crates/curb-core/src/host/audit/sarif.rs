//! A report as SARIF 2.1.0 (OASIS), for code scanning.

use serde_json::{Value, json};

use super::{Finding, Report, Rule, Severity, Spot};

/// The report as SARIF.
#[must_use]
pub fn sarif(report: &Report, version: &str) -> Value {
    let results: Vec<Value> = report.findings.iter().map(result).collect();
    let notifications: Vec<Value> = report
        .unread
        .iter()
        .map(|text| json!({"level": "note", "message": {"text": text}}))
        .collect();
    json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "curb",
                "version": version,
                "rules": Rule::ALL.map(rule),
            }},
            "columnKind": "unicodeCodePoints",
            "invocations": [{
                "executionSuccessful": true,
                "toolExecutionNotifications": notifications,
            }],
            "results": results,
        }],
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

fn rule(rule: Rule) -> Value {
    json!({
        "id": rule.id(),
        "shortDescription": {"text": rule.title()},
        "fullDescription": {"text": rule.why()},
        "help": {"text": rule.mend()},
        "defaultConfiguration": {"level": level(rule.severity())},
    })
}

fn result(finding: &Finding) -> Value {
    let mut text = format!("{}: {}", finding.about, finding.message);
    if let Some(mend) = &finding.mend {
        text.push_str(&format!("\n{}:\n{}", mend.how, mend.text));
    }
    let place = match &finding.spot {
        Some(spot) => physical(spot),
        None => json!({"logicalLocations": [{"fullyQualifiedName": finding.about}]}),
    };
    let index = Rule::ALL.iter().position(|r| *r == finding.rule);
    json!({
        "ruleId": finding.rule.id(),
        "ruleIndex": index,
        "level": level(finding.severity),
        "message": {"text": text},
        "locations": [place],
    })
}

fn physical(spot: &Spot) -> Value {
    json!({"physicalLocation": {
        "artifactLocation": {"uri": uri(&spot.file)},
        "region": {
            "startLine": spot.line,
            "startColumn": spot.column,
            "endLine": spot.line,
            "endColumn": spot.column.saturating_add(spot.width),
        },
    }})
}

/// A path as a reference (RFC 3986): absolute ones as `file:`, what a reference gives a meaning is escaped.
fn uri(path: &str) -> String {
    let mut out = String::new();
    if path.starts_with('/') {
        out.push_str("file://");
    }
    let path = path.strip_prefix("./").unwrap_or(path);
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_reference_that_means_this_file_and_no_other() {
        for (path, reference) in [
            ("compose.yaml", "compose.yaml"),
            ("./k8s/a b.yaml", "k8s/a%20b.yaml"),
            (
                "/etc/systemd/system/chat@1.service",
                "file:///etc/systemd/system/chat%401.service",
            ),
            ("c:d?#%.yaml", "c%3Ad%3F%23%25.yaml"),
            ("ö.yaml", "%C3%B6.yaml"),
        ] {
            assert_eq!(uri(path), reference);
        }
    }
}
