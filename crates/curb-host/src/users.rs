//! Users of this host by name, as its own files have them.

/// The number of a user. Users of a directory service that are not in `/etc/passwd` are known by number only.
#[must_use]
pub fn number(name: &str) -> Option<u32> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    find(&text, name).map(|(user, _)| user)
}

/// The numbers of a user and of its own group.
#[must_use]
pub fn numbers(name: &str) -> Option<(u32, u32)> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    find(&text, name)
}

fn find(text: &str, name: &str) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut parts = line.split(':');
        (parts.next()? == name).then_some(())?;
        let (user, group) = (parts.nth(1)?, parts.next()?);
        Some((user.parse().ok()?, group.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_the_whole_name_only() {
        let text = "root:x:0:0:root:/root:/bin/sh\nana:x:1000:100::/home/ana:/bin/sh\nbroken:x\n";
        assert_eq!(find(text, "ana"), Some((1000, 100)));
        assert_eq!(find(text, "an"), None);
        assert_eq!(find(text, "x"), None);
        assert_eq!(find(text, "broken"), None);
    }
}
