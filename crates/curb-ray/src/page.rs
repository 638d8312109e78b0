//! Pages of Ray's dashboard, for those who may read it.

use crate::body::RayBody;

/// A page as Ray sent it: the status and what a browser needs to show it.
pub struct Page {
    /// The HTTP status.
    pub status: u16,
    /// `Content-Type`, if it is plain text.
    pub content_type: Option<String>,
    /// `Content-Encoding`, if it is plain text.
    pub content_encoding: Option<String>,
    /// The body, as it comes.
    pub body: RayBody,
}

/// Whether a path and query have only characters that stand for themselves, so that Ray reads what was checked.
pub(crate) fn is_plain(target: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~:@+?&=,".contains(&b);
    target.starts_with('/') && target.len() <= 4096 && target.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_targets_that_stand_for_themselves_pass() {
        for ok in [
            "/",
            "/nodes?view=summary",
            "/static/js/main.1a2b.js",
            "/api/v0/tasks?limit=10&filter_keys=state",
        ] {
            assert!(is_plain(ok), "{ok}");
        }
        for bad in [
            "", "nodes", "/a b", "/a%2fb", "/a#b", "/a\\b", "/a;b", "/a\r\nb",
        ] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
