//! What is found: which rule, about what, where, and what mends it.

use std::fmt;

use serde::Serialize;

use super::{Rule, Subject};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// It can go wrong.
    Warning,
    /// It will go wrong when a program takes too much, or the file does not mean what it says.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// A place in a file: line and column from 1, and how many characters it covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Spot {
    /// The file, as it was named.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// How many characters.
    pub width: u32,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// What mends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mend {
    /// What to do with the text: `run`, or where the lines go.
    pub how: String,
    /// A command line, or lines for the file.
    pub text: String,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which rule.
    pub rule: Rule,
    /// How bad.
    pub severity: Severity,
    /// About what: the name of a subject, or of a file.
    pub about: String,
    /// What was found, with its numbers.
    pub message: String,
    /// Where in a file.
    pub spot: Option<Spot>,
    /// What mends it.
    pub mend: Option<Mend>,
}

impl Finding {
    /// A finding with its rule's severity.
    pub(super) fn new(rule: Rule, about: &str, message: impl Into<String>) -> Finding {
        Finding {
            rule,
            severity: rule.severity(),
            about: about.to_owned(),
            message: message.into(),
            spot: None,
            mend: None,
        }
    }

    pub(super) fn at(mut self, spot: Option<Spot>) -> Finding {
        self.spot = spot;
        self
    }

    pub(super) fn mend(mut self, how: impl Into<String>, text: impl Into<String>) -> Finding {
        self.mend = Some(Mend {
            how: how.into(),
            text: text.into(),
        });
        self
    }
}

/// What was audited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The processes of this host.
    Host,
    /// Compose files.
    Compose,
    /// Kubernetes manifests.
    Kubernetes,
    /// systemd units.
    Systemd,
}

/// All that an audit found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was audited.
    pub target: Target,
    /// What was looked at, with the limits that hold for it.
    pub subjects: Vec<Subject>,
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
    /// What was not looked at, and why.
    pub unread: Vec<String>,
}

impl Report {
    /// A report with its findings in order: by severity, then by place, then by name.
    #[must_use]
    pub fn new(
        target: Target,
        subjects: Vec<Subject>,
        mut findings: Vec<Finding>,
        unread: Vec<String>,
    ) -> Report {
        findings.sort_by(|a, b| {
            let key = |f: &Finding| {
                (
                    std::cmp::Reverse(f.severity),
                    f.spot.clone(),
                    f.about.clone(),
                )
            };
            key(a).cmp(&key(b)).then(a.rule.cmp(&b.rule))
        });
        findings.dedup();
        Report {
            target,
            subjects,
            findings,
            unread,
        }
    }

    /// The worst that was found.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|f| f.severity).max()
    }

    /// How many findings of this severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings
            .iter()
            .filter(|f| f.severity == severity)
            .count()
    }
}
