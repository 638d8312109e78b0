//! Whose groups they are.

use crate::helper::{ASIDE, HOME};

/// Where the groups of one agent are in each tree, as `/proc/PID/cgroup` writes it. Another agent of this host, in a container
/// perhaps, has groups of the same names elsewhere, and they are not this one's.
#[derive(Debug, Default)]
pub(crate) struct Homes(Vec<String>);

impl Homes {
    /// From the text of the `/proc/PID/cgroup` of an agent or its helper.
    pub fn of(own: &str) -> Homes {
        let home = |line: &str| {
            let place = line.strip_suffix(&format!("/{ASIDE}")).unwrap_or(line);
            let place = place.trim_end_matches('/');
            format!("{}/{HOME}/", without_number(place))
        };
        Homes(own.lines().map(home).collect())
    }

    /// Of this process.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn of_this_process() -> std::io::Result<Homes> {
        Ok(Homes::of(&std::fs::read_to_string("/proc/self/cgroup")?))
    }

    /// Whether a process, by the text of its `/proc/PID/cgroup`, is in one of them.
    pub fn have(&self, text: &str) -> bool {
        text.lines().any(|line| {
            let line = without_number(line);
            self.0.iter().any(|home| line.starts_with(home.as_str()))
        })
    }
}

/// `controllers:path` of `number:controllers:path`.
fn without_number(line: &str) -> &str {
    line.split_once(':').map_or(line, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_the_same_name_in_another_place_are_another_agent_s() {
        let homes = Homes::of("8:pids:/box\n4:memory:/\n0::/a/curbagent.self\n");
        for (text, its_own) in [
            ("8:pids:/box/curbagent.groups/curbagent-chat\n", true),
            ("3:pids:/box/curbagent.groups/curbagent-chat\n", true),
            ("4:memory:/curbagent.groups/curbagent-chat\n", true),
            ("0::/a/curbagent.groups/curbagent-chat\n", true),
            ("8:pids:/curbagent.groups/curbagent-chat\n", false),
            ("8:pids:/box/2/curbagent.groups/curbagent-chat\n", false),
            ("8:pids:/box2/curbagent.groups/curbagent-chat\n", false),
            ("0::/box/curbagent.groups/curbagent-chat\n", false),
            ("8:pids:/box\n4:memory:/\n", false),
        ] {
            assert_eq!(homes.have(text), its_own, "{text}");
        }
    }
}
