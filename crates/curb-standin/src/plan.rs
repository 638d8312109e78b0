//! What a pretended job does, read from its entrypoint.

use crate::options::JobTime;
use std::borrow::Cow;

/// How long a job runs, how it ends, and what it prints when.
///
/// The entrypoint is cut at `;`, `&&` and line ends. Understood are `sleep SECONDS`, `echo TEXT`,
/// `exit CODE`, `true` and `false`; any other command takes no time, prints nothing and succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Milliseconds from its start to its end; none runs until stopped.
    pub run_ms: Option<u64>,
    /// What the shell would return at the end.
    pub exit_code: i32,
}

impl Plan {
    /// Reads an entrypoint. No allocation: this is on the path of every submission.
    pub fn read(entrypoint: &str, time: JobTime) -> Plan {
        let mut plan = Plan {
            run_ms: Some(0),
            exit_code: 0,
        };
        let slept = walk(entrypoint, |_, _| {}, &mut plan.exit_code);
        plan.run_ms = match time {
            JobTime::FromEntrypoint => Some(slept),
            JobTime::Fixed(time) => Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            JobTime::Never => None,
        };
        plan
    }

    /// What the entrypoint has printed `elapsed_ms` after its start.
    pub fn output(entrypoint: &str, elapsed_ms: u64) -> String {
        let mut output = String::new();
        let mut exit_code = 0;
        walk(
            entrypoint,
            |at, line| {
                if at <= elapsed_ms {
                    output.push_str(&line);
                    output.push('\n');
                }
            },
            &mut exit_code,
        );
        output
    }
}

/// Goes through the commands; returns the milliseconds slept.
fn walk(entrypoint: &str, mut print: impl FnMut(u64, Cow<'_, str>), exit_code: &mut i32) -> u64 {
    let mut clock: u64 = 0;
    for command in entrypoint
        .split([';', '\n'])
        .flat_map(|part| part.split("&&"))
        .map(str::trim)
        .filter(|c| !c.is_empty())
    {
        let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
        *exit_code = 0;
        match word {
            "sleep" => clock = clock.saturating_add(sleep_ms(rest.trim())),
            "echo" => print(clock, Cow::Borrowed(rest.trim().trim_matches(['\'', '"']))),
            "false" => *exit_code = 1,
            "exit" => {
                *exit_code = rest.trim().parse().unwrap_or(2);
                break;
            }
            _ => {}
        }
    }
    clock
}

fn sleep_ms(seconds: &str) -> u64 {
    let duration = seconds
        .parse()
        .ok()
        .and_then(|s| std::time::Duration::try_from_secs_f64(s).ok());
    duration.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_entrypoint_says_how_long_it_runs_and_how_it_ends() {
        let read = |text| Plan::read(text, JobTime::FromEntrypoint);
        assert_eq!(
            read("echo a; sleep 1.5 && sleep 1; exit 3"),
            Plan {
                run_ms: Some(2500),
                exit_code: 3
            }
        );
        assert_eq!(
            read("python train.py"),
            Plan {
                run_ms: Some(0),
                exit_code: 0
            }
        );
        assert_eq!(
            read("exit 1; sleep 9"),
            Plan {
                run_ms: Some(0),
                exit_code: 1
            }
        );
        assert_eq!(
            read("false"),
            Plan {
                run_ms: Some(0),
                exit_code: 1
            }
        );
        assert_eq!(
            read("false; true"),
            Plan {
                run_ms: Some(0),
                exit_code: 0
            }
        );
        assert_eq!(
            read("sleep -1; sleep x; sleep 1e300"),
            Plan {
                run_ms: Some(0),
                exit_code: 0
            }
        );
    }

    #[test]
    fn the_option_overrides_the_time_and_not_the_outcome() {
        assert_eq!(
            Plan::read("sleep 9; exit 1", JobTime::Fixed(Duration::ZERO)),
            Plan {
                run_ms: Some(0),
                exit_code: 1
            }
        );
        assert_eq!(Plan::read("true", JobTime::Never).run_ms, None);
    }

    #[test]
    fn output_appears_when_its_line_is_reached() {
        let text = "echo 'one two'; sleep 1; echo three";
        assert_eq!(Plan::output(text, 999), "one two\n");
        assert_eq!(Plan::output(text, 1000), "one two\nthree\n");
    }
}
