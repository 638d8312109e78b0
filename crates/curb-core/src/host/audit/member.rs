//! What the path of a control group says: the container and the systemd unit it belongs to.

use std::fmt;

use serde::Serialize;

/// A container, as the path of its control group names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Container {
    /// What runs it: `docker`, `podman`, `kubernetes`, `containerd`, `lxc`.
    pub runtime: String,
    /// Its id.
    pub id: String,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.runtime, self.short())
    }
}

impl Container {
    /// As many letters of the id as the tools show.
    #[must_use]
    pub fn short(&self) -> &str {
        match self.id.char_indices().nth(12) {
            Some((at, _)) if is_hash(&self.id) => &self.id[..at],
            _ => &self.id,
        }
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The container that a group's path names; the innermost, where one runs in another.
#[must_use]
pub fn container_of(path: &str) -> Option<Container> {
    let in_pods = path.contains("kubepods");
    let of = |runtime: &str, id: &str| Container {
        runtime: if in_pods { "kubernetes" } else { runtime }.to_owned(),
        id: id.to_owned(),
    };
    let mut before = "";
    let mut found = None;
    for part in path.split('/') {
        let bare = part.strip_suffix(".scope").unwrap_or(part);
        let (head, id) = bare.rsplit_once('-').unwrap_or(("", bare));
        if is_hash(id) {
            found = Some(match (head, before) {
                ("docker", _) | ("", "docker") => of("docker", id),
                ("libpod", _) | ("", "libpod" | "libpod_parent") => of("podman", id),
                ("crio", _) => of("cri-o", id),
                _ => of("containerd", id),
            });
        } else if let Some(name) = bare.strip_prefix("lxc.payload.") {
            found = Some(of("lxc", name));
        } else if before == "lxc" && !part.is_empty() {
            found = Some(of("lxc", part));
        }
        before = part;
    }
    found
}

/// The systemd unit that a group's path names: the innermost service or scope. A scope of a container or of a login is
/// none that is managed by its name.
#[must_use]
pub fn unit_of(path: &str) -> Option<&str> {
    let unit = path
        .split('/')
        .rev()
        .find(|part| part.ends_with(".service") || part.ends_with(".scope"))?;
    let bare = unit.strip_suffix(".scope");
    let container = bare.is_some_and(|b| b.rsplit_once('-').is_some_and(|(_, id)| is_hash(id)));
    let login = unit.starts_with("session-") && bare.is_some();
    // The manager of a user's own units is not what runs in it.
    let manager = unit.starts_with("user@");
    (!container && !login && !manager && unit != "init.scope").then_some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn each_runtime_writes_its_container_in_its_own_way() {
        for (path, runtime) in [
            ("/docker/ID", "docker"),
            ("/system.slice/docker-ID.scope", "docker"),
            ("/machine.slice/libpod-ID.scope/container", "podman"),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podaaa.slice/cri-containerd-ID.scope",
                "kubernetes",
            ),
            ("/kubepods/besteffort/podaaa/ID", "kubernetes"),
            ("/system.slice/crio-ID.scope", "cri-o"),
            ("/default/ID", "containerd"),
        ] {
            let container = container_of(&path.replace("ID", ID)).expect(path);
            assert_eq!(
                (container.runtime.as_str(), container.id.as_str()),
                (runtime, ID),
                "{path}"
            );
            assert_eq!(container.short(), "0123456789ab");
        }
        let lxc = container_of("/lxc/web/init").expect("one");
        assert_eq!((lxc.runtime.as_str(), lxc.short()), ("lxc", "web"));
        for path in [
            "/",
            "/user.slice",
            "/docker",
            "/docker-0123.scope",
            "/a/0123456789abcdef",
        ] {
            assert_eq!(container_of(path), None, "{path}");
        }
    }

    #[test]
    fn a_unit_is_one_that_can_be_managed_by_its_name() {
        for (path, unit) in [
            ("/system.slice/chat.service", Some("chat.service")),
            ("/system.slice/chat.service/worker", Some("chat.service")),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope",
                Some("run-1.scope"),
            ),
            ("/user.slice/user-1000.slice/session-3.scope", None),
            ("/user.slice/user-1000.slice/user@1000.service", None),
            ("/init.scope", None),
            ("/", None),
        ] {
            assert_eq!(unit_of(path), unit, "{path}");
        }
        assert_eq!(unit_of(&format!("/system.slice/docker-{ID}.scope")), None);
    }
}
