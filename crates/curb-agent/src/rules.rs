//! Which process is which workload. Pure: what is dear to find out is asked for through [`Closer`], and only when all that is
//! cheap fits already.
//!
//! Identity never rests on what a process says of itself alone: a rule of command and environment only is refused when the
//! file is read, and here once more.

use curb_core::host::limits::{File, Match, User};

use crate::wire::Name;

/// One rule, ready to be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The workload.
    pub name: Name,
    /// Its place in the file.
    pub place: usize,
    /// What must hold.
    pub asks: Match,
    /// The user by number. None beside a user that is asked for: this host has no such user, and nothing fits.
    pub user: Option<u32>,
}

/// The rules of a file, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    list: Vec<Rule>,
    /// Users that this host does not have.
    pub unknown_users: Vec<String>,
}

/// What is cheap to know of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The user it runs as.
    pub user: Option<u32>,
    /// Where it stands.
    pub place: Place,
}

/// Where a process stands, by the paths of its control groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Units of the machine's systemd, or of a user's.
    pub units: Vec<Unit>,
    /// Ids of containers.
    pub containers: Vec<String>,
    /// The last names of groups that Curb made.
    pub ours: Option<String>,
}

/// A unit that a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// It is below the place of a user, who may name it as they like.
    pub of_a_user: bool,
}

/// What is dear to know of a process. `None`: it has ended, or cannot be looked at.
pub trait Closer {
    /// Its arguments, joined by spaces.
    fn command(&mut self) -> Option<String>;
    /// Which of these libraries it has mapped, by their places.
    fn libraries(&mut self, names: &[String]) -> Option<Vec<usize>>;
    /// Whether it was started with this variable of this value.
    fn variable(&mut self, name: &str, value: &str) -> Option<bool>;
}

impl Rules {
    /// The rules of a file; `number` gives the number of a user of this host.
    #[must_use]
    pub fn of(file: &File, number: impl Fn(&str) -> Option<u32>) -> Rules {
        let mut rules = Rules::default();
        for (place, workload) in file.workloads.iter().enumerate() {
            let (Some(asks), Some(name)) = (&workload.matches, Name::new(&workload.name)) else {
                continue;
            };
            if asks.is_forgeable() {
                continue;
            }
            let user = match &asks.user {
                Some(User::Id(id)) => Some(*id),
                Some(User::Name(name)) => {
                    let id = number(name);
                    if id.is_none() {
                        rules.unknown_users.push(name.clone());
                    }
                    id
                }
                None => None,
            };
            rules.list.push(Rule {
                name,
                place,
                asks: asks.clone(),
                user,
            });
        }
        rules
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.list.iter()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The first rule that holds, and by what.
    #[must_use]
    pub fn which(&self, facts: &Facts, closer: &mut dyn Closer) -> Option<(&Rule, String)> {
        let cheap: Vec<&Rule> = self.list.iter().filter(|r| r.is_near(facts)).collect();
        if cheap.is_empty() {
            return None;
        }
        let asks_for_command = cheap.iter().any(|r| r.asks.command.is_some());
        let command = if asks_for_command {
            closer.command()
        } else {
            None
        };
        let near: Vec<&Rule> = cheap
            .into_iter()
            .filter(|r| match (&r.asks.command, &command) {
                (None, _) => true,
                (Some(glob), Some(command)) => glob.matches(command),
                (Some(_), None) => false,
            })
            .collect();
        // One look at what is mapped, for all rules.
        let names: Vec<String> = near.iter().filter_map(|r| r.asks.library.clone()).collect();
        let mapped = match names.is_empty() {
            true => Vec::new(),
            false => {
                let places = closer.libraries(&names).unwrap_or_default();
                places
                    .into_iter()
                    .filter_map(|p| names.get(p).cloned())
                    .collect()
            }
        };
        let rule = near.into_iter().find(|r| r.holds(&mapped, closer))?;
        Some((rule, rule.by()))
    }
}

impl Rule {
    /// Whether all that is cheap holds.
    fn is_near(&self, facts: &Facts) -> bool {
        let user = match (&self.asks.user, self.user) {
            (None, _) => true,
            (Some(_), Some(id)) => facts.user == Some(id),
            (Some(_), None) => false,
        };
        // A user may name units and containers below their own place as they like: such a name counts where the user is
        // asked for as well.
        let counts = |of_a_user: bool| !of_a_user || self.asks.user.is_some();
        let unit = self.asks.unit.as_ref().is_none_or(|name| {
            let mut units = facts.place.units.iter();
            units.any(|u| u.name == *name && counts(u.of_a_user))
        });
        let container = self.asks.container.as_ref().is_none_or(|id| {
            let of_a_user = facts.place.units.iter().any(|u| u.of_a_user);
            !id.is_empty()
                && counts(of_a_user)
                && facts
                    .place
                    .containers
                    .iter()
                    .any(|c| c.starts_with(id.as_str()))
        });
        user && unit && container
    }

    fn holds(&self, mapped: &[String], closer: &mut dyn Closer) -> bool {
        let library = self.asks.library.as_ref();
        library.is_none_or(|l| mapped.contains(l))
            && self
                .asks
                .environment
                .iter()
                .all(|(name, value)| closer.variable(name, value) == Some(true))
    }

    /// What it goes by, in words.
    fn by(&self) -> String {
        let asks = &self.asks;
        let mut by = Vec::new();
        by.extend(asks.library.as_ref().map(|l| format!("library {l}")));
        by.extend(asks.user.as_ref().map(|u| format!("user {u}")));
        by.extend(asks.unit.as_ref().map(|u| format!("unit {u}")));
        by.extend(asks.container.as_ref().map(|c| format!("container {c}")));
        by.extend(asks.command.as_ref().map(|_| "command".to_owned()));
        if !asks.environment.is_empty() {
            by.push("environment".to_owned());
        }
        by.join(", ")
    }
}

/// Groups of Curb's own begin with one of these: of an agent; of `curb run`, for what it started and for what it attached.
const OURS: [&str; 3] = [crate::helper::PREFIX, "curb-", "curbed-"];
/// An id of a container has so many hexadecimal digits.
const CONTAINER_ID: usize = 64;

impl Place {
    /// From the text of `/proc/PID/cgroup`.
    #[must_use]
    pub fn parse(text: &str) -> Place {
        let mut place = Place::default();
        for path in text.lines().filter_map(|l| l.splitn(3, ':').nth(2)) {
            let mut of_a_user = false;
            for part in path.split('/').filter(|p| !p.is_empty()) {
                let unit = [".service", ".scope", ".slice", ".socket"]
                    .iter()
                    .any(|end| part.ends_with(end));
                if unit
                    && !place
                        .units
                        .iter()
                        .any(|u| u.name == part && u.of_a_user == of_a_user)
                {
                    place.units.push(Unit {
                        name: part.to_owned(),
                        of_a_user,
                    });
                }
                of_a_user |= part.starts_with("user@") || part.starts_with("user-");
                if let Some(id) = container(part)
                    && !place.containers.iter().any(|c| c == id)
                {
                    place.containers.push(id.to_owned());
                }
                // A unit of systemd may have such a name too (this agent's own).
                if !unit && OURS.iter().any(|start| part.starts_with(start)) {
                    place.ours = Some(part.to_owned());
                }
            }
        }
        place
    }

    /// Whose hands it is in already: a service or a container, which is limited where it is defined.
    #[must_use]
    pub fn keeper(&self) -> Option<String> {
        if let Some(id) = self.containers.first() {
            let short = id.get(..12).unwrap_or(id);
            return Some(format!("container {short}"));
        }
        let service = |u: &&Unit| u.name.ends_with(".service") && !u.name.starts_with("user@");
        let unit = self.units.iter().find(service)?;
        Some(format!("unit {}", unit.name))
    }
}

/// `docker-ID.scope`, `cri-containerd-ID.scope`, `ID`.
fn container(part: &str) -> Option<&str> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let id = part.rsplit('-').next()?;
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (id.len() == CONTAINER_ID && id.bytes().all(hex)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use curb_core::host::limits::{Glob, Workload};

    /// What a process is when one looks closer, and how often that was done.
    #[derive(Default)]
    struct Process {
        command: &'static str,
        libraries: Vec<&'static str>,
        environment: Vec<(&'static str, &'static str)>,
        looks: usize,
    }

    impl Closer for Process {
        fn command(&mut self) -> Option<String> {
            Some(self.command.to_owned())
        }

        fn libraries(&mut self, names: &[String]) -> Option<Vec<usize>> {
            self.looks += 1;
            let has = |n: &String| self.libraries.iter().any(|l| l.starts_with(n.as_str()));
            Some((0..names.len()).filter(|i| has(&names[*i])).collect())
        }

        fn variable(&mut self, name: &str, value: &str) -> Option<bool> {
            self.looks += 1;
            Some(self.environment.contains(&(name, value)))
        }
    }

    fn rules(all: &[(&str, Match)]) -> Rules {
        let workload = |(name, asks): &(&str, Match)| Workload {
            name: (*name).to_owned(),
            matches: Some(asks.clone()),
            ..Workload::default()
        };
        let file = File {
            workloads: all.iter().map(workload).collect(),
            ..File::default()
        };
        Rules::of(&file, |name| (name == "ana").then_some(1000))
    }

    fn ana() -> Option<User> {
        Some(User::Name("ana".to_owned()))
    }

    fn mlx() -> Match {
        Match {
            library: Some("libmlx".to_owned()),
            user: ana(),
            ..Match::default()
        }
    }

    fn name(found: Option<(&Rule, String)>) -> Option<String> {
        found.map(|(rule, _)| rule.name.as_str().to_owned())
    }

    fn at(user: u32, cgroup: &str) -> Facts {
        Facts {
            user: Some(user),
            place: Place::parse(cgroup),
        }
    }

    #[test]
    fn a_process_is_known_by_library_and_user_together() {
        let rules = rules(&[("chat", mlx())]);
        let mut process = Process {
            libraries: vec!["libmlx.so"],
            ..Process::default()
        };
        let (rule, by) = rules.which(&at(1000, ""), &mut process).expect("found");
        assert_eq!(
            (rule.name.as_str(), by.as_str()),
            ("chat", "library libmlx, user ana")
        );
        // Another's, or without the library: not it. The other's is not even looked at closely.
        process.looks = 0;
        assert_eq!(rules.which(&at(1001, ""), &mut process), None);
        assert_eq!(process.looks, 0);
        assert_eq!(rules.which(&at(1000, ""), &mut Process::default()), None);
    }

    #[test]
    fn a_process_that_forges_title_arguments_and_environment_is_not_taken() {
        let asks = Match {
            command: Some(Glob("python* server.py*".to_owned())),
            environment: [("CURB_WORKLOAD".to_owned(), "chat".to_owned())].into(),
            ..mlx()
        };
        let rules = rules(&[("chat", asks.clone())]);
        let mut forged = Process {
            command: "python server.py libmlx.so",
            environment: vec![("CURB_WORKLOAD", "chat")],
            ..Process::default()
        };
        assert_eq!(rules.which(&at(1000, ""), &mut forged), None);
        // With the library it is what it says.
        forged.libraries = vec!["libmlx.so"];
        assert_eq!(
            name(rules.which(&at(1000, ""), &mut forged)).as_deref(),
            Some("chat")
        );
        // A rule of what can be forged alone is none, should one ever get here.
        let alone = Match {
            library: None,
            user: None,
            ..asks
        };
        assert!(self::rules(&[("chat", alone)]).is_empty());
    }

    #[test]
    fn the_first_rule_that_holds_is_the_one_and_all_share_one_look() {
        let other = Match {
            library: Some("libtorch".to_owned()),
            ..mlx()
        };
        let rules = rules(&[
            ("torch", other),
            ("chat", mlx()),
            (
                "rest",
                Match {
                    user: ana(),
                    ..Match::default()
                },
            ),
        ]);
        let mut process = Process {
            libraries: vec!["libmlx.so"],
            ..Process::default()
        };
        assert_eq!(
            name(rules.which(&at(1000, ""), &mut process)).as_deref(),
            Some("chat")
        );
        assert_eq!(process.looks, 1);
        assert_eq!(
            name(rules.which(&at(1000, ""), &mut Process::default())).as_deref(),
            Some("rest")
        );
    }

    #[test]
    fn a_user_that_this_host_does_not_have_is_nobody_and_told() {
        let asks = Match {
            user: Some(User::Name("zoe".to_owned())),
            ..Match::default()
        };
        let rules = rules(&[("chat", asks)]);
        assert_eq!(rules.unknown_users, ["zoe"]);
        assert_eq!(rules.which(&at(0, ""), &mut Process::default()), None);
    }

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn units_and_containers_are_known_by_the_paths_of_control_groups() {
        for (cgroup, unit, container, keeper) in [
            (
                "0::/system.slice/chat.service\n",
                Some("chat.service"),
                None,
                Some("unit chat.service"),
            ),
            (
                &format!("0::/system.slice/docker-{ID}.scope\n") as &str,
                None,
                Some(&ID[..12]),
                Some("container 0123456789ab"),
            ),
            (
                &format!("4:memory:/docker/{ID}\n"),
                None,
                Some(ID),
                Some("container 0123456789ab"),
            ),
            (
                &format!("0::/kubepods/x/cri-containerd-{ID}.scope\n"),
                None,
                Some(&ID[..8]),
                Some("container 0123456789ab"),
            ),
            (
                "0::/user.slice/user-1000.slice/session-3.scope\n",
                None,
                None,
                None,
            ),
            (
                "4:memory:/\n1:name=systemd:/system.slice/chat.service\n",
                Some("chat.service"),
                None,
                Some("unit chat.service"),
            ),
        ] {
            let place = Place::parse(cgroup);
            assert_eq!(place.keeper().as_deref(), keeper, "{cgroup}");
            if let Some(unit) = unit {
                let rules = rules(&[(
                    "a",
                    Match {
                        unit: Some(unit.to_owned()),
                        ..Match::default()
                    },
                )]);
                assert!(
                    rules
                        .which(&at(7, cgroup), &mut Process::default())
                        .is_some(),
                    "{cgroup}"
                );
            }
            if let Some(id) = container {
                let rules = rules(&[(
                    "a",
                    Match {
                        container: Some(id.to_owned()),
                        ..Match::default()
                    },
                )]);
                assert!(
                    rules
                        .which(&at(7, cgroup), &mut Process::default())
                        .is_some(),
                    "{cgroup}"
                );
            }
        }
    }

    #[test]
    fn a_unit_that_a_user_named_is_not_the_machines() {
        let below_a_user =
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/chat.service\n";
        let unit = Match {
            unit: Some("chat.service".to_owned()),
            ..Match::default()
        };
        let alone = rules(&[("chat", unit.clone())]);
        assert_eq!(
            alone.which(&at(1000, below_a_user), &mut Process::default()),
            None
        );
        let with_user = rules(&[(
            "chat",
            Match {
                user: ana(),
                ..unit
            },
        )]);
        assert!(
            with_user
                .which(&at(1000, below_a_user), &mut Process::default())
                .is_some()
        );
        // Nor is a group that somebody gave the name of a container.
        let fake = format!("0::/user.slice/user-1000.slice/user@1000.service/docker-{ID}.scope\n");
        let container = Match {
            container: Some(ID.to_owned()),
            ..Match::default()
        };
        assert_eq!(
            rules(&[("a", container)]).which(&at(1000, &fake), &mut Process::default()),
            None
        );
    }

    #[test]
    fn groups_of_curbs_own_are_known() {
        let ours = |text: &str| Place::parse(text).ours;
        assert_eq!(
            ours("4:memory:/x/curb-run-12-34\n").as_deref(),
            Some("curb-run-12-34")
        );
        assert_eq!(
            ours("0::/curbagent-chat\n").as_deref(),
            Some("curbagent-chat")
        );
        assert_eq!(ours("0::/user.slice\n"), None);
    }
}
