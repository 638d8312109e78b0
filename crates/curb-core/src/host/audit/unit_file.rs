//! Unit files of systemd as text (systemd.syntax(7)).

use super::Spot;

/// One `Key=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub section: String,
    pub key: String,
    pub value: String,
    pub key_at: Spot,
    pub value_at: Spot,
}

/// A line that is no setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Odd {
    pub at: Spot,
    pub message: String,
}

/// Everything that a text sets, in its order, and what of it cannot be read.
pub(super) fn settings(file: &str, text: &str) -> (Vec<Setting>, Vec<Odd>) {
    let (mut all, mut odd) = (Vec::new(), Vec::new());
    let mut section = String::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let line = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let spot = |from: usize, width: usize| Spot {
            file: file.to_owned(),
            line,
            column: small(first[..from].chars().count() + 1),
            width: small(width.max(1)),
        };
        let trimmed = first.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let lead = first.len() - first.trim_start().len();
        if let Some(name) = trimmed.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
            name.clone_into(&mut section);
            continue;
        }
        // A backslash at the end joins the next line; comments between are left out.
        let mut whole = first.to_owned();
        while let Some(open) = whole.strip_suffix('\\') {
            let open = open.to_owned();
            let next = lines
                .by_ref()
                .map(|(_, l)| l)
                .find(|l| !l.trim_start().starts_with(['#', ';']));
            whole = format!("{open} {}", next.unwrap_or_default().trim_start());
        }
        let Some((key, value)) = whole.split_once('=') else {
            odd.push(Odd {
                at: spot(lead, trimmed.chars().count()),
                message: format!("`{trimmed}` is neither a section nor a setting"),
            });
            continue;
        };
        let behind = key.len() + 1 + (value.len() - value.trim_start().len());
        let shown = value.trim().chars().count();
        all.push(Setting {
            section: section.clone(),
            key: key.trim().to_owned(),
            value: value.trim().to_owned(),
            key_at: spot(lead, key.trim().chars().count()),
            value_at: spot(behind.min(first.len()), shown),
        });
    }
    (all, odd)
}

fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_know_their_section_and_their_place() {
        let text = "# of chat\n[Unit]\nDescription=a \\\n# between\n  b\n[Service]\n  MemoryMax = 4G\n;x\nnonsense\n";
        let (all, odd) = settings("c.service", text);
        let told: Vec<_> = all
            .iter()
            .map(|s| {
                (
                    s.section.as_str(),
                    s.key.as_str(),
                    s.value.as_str(),
                    s.value_at.line,
                    s.value_at.column,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("Unit", "Description", "a  b", 3, 13),
                ("Service", "MemoryMax", "4G", 7, 15)
            ]
        );
        assert_eq!((odd.len(), odd[0].at.line), (1, 9));
    }

    #[test]
    fn odd_texts_do_not_panic() {
        for text in [
            "=",
            "\\",
            "a=\\",
            "[",
            "ö=ö\\\nö",
            "\u{feff}[a]\n",
            "a=b\\\n#\n#",
        ] {
            let _ = settings("x", text);
        }
    }
}
