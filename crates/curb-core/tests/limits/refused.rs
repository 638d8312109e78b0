//! A table of wrong files. `▼` marks where each message must point; it is taken out before the file is read. What is
//! said stands in the snapshots.

use curb_core::host::limits::{File, Host, Severity};

use crate::marks::marked;
use crate::{host, ladder, limits, one, rendered, said_of};

/// Checks the places, and gives all messages for a snapshot.
fn transcript(severity: Severity, host: &Host, cases: &[(&str, String)]) -> String {
    let mut out = String::new();
    let mut misplaced = Vec::new();
    for (title, text) in cases {
        let (clean, marks) = marked(text);
        let all = said_of(&clean, host);
        let places: Vec<(u32, u32)> = all.iter().map(|d| (d.line, d.column)).collect();
        if places != marks || all.iter().any(|d| d.severity != severity) {
            misplaced.push(format!(
                "{title}: wanted {marks:?}, got {places:?}\n{clean}{}",
                rendered(&all)
            ));
        }
        let refused = File::parse("limits.yaml", &clean, host).is_err();
        assert_eq!(refused, severity == Severity::Error, "{title}");
        for one in &all {
            assert!(
                one.help.is_some() || one.message.starts_with("wanted "),
                "{title}: says no next step\n{}",
                one.render()
            );
        }
        out.push_str(&format!("## {title}\n\n{}\n\n", rendered(&all)));
    }
    assert!(misplaced.is_empty(), "{}", misplaced.join("\n"));
    out
}

fn errors(cases: &[(&str, String)]) -> String {
    transcript(Severity::Error, &Host::default(), cases)
}

#[test]
fn what_is_no_file_of_limits_is_refused() {
    let file = |text: &str| text.to_owned();
    let told = errors(&[
        ("an empty file", file("▼")),
        ("a list in place of fields", file("▼- version: 1\n")),
        ("no version", file("▼workloads: []\n")),
        ("a version that is not known", file("version: ▼2\n")),
        ("a slip in a field", file("version: 1\n▼workload: []\n")),
        (
            "a limit at the top",
            file("version: 1\n▼memory_high: 4GiB\n"),
        ),
        (
            "a pattern without quotes",
            file(
                "version: 1\nworkloads:\n  - name: chat\n    limits: {cpu: {value: 1, why: w}}\n    match: {command: ▼*server.py}\n",
            ),
        ),
        (
            "an alias",
            file("version: 1\nhost: ▼&a {wired: 1GiB}\nworkloads: []\n"),
        ),
        (
            "a workload without a name",
            file("version: 1\nworkloads:\n  - ▼limits: {cpu: {value: 1, why: w}}\n"),
        ),
        (
            "a name with a space",
            file(
                "version: 1\nworkloads: [{name: ▼my chat, limits: {processes: {value: 2, why: w}}}]\n",
            ),
        ),
        (
            "two of one name",
            file(
                "version: 1\nworkloads:\n  - {name: a, limits: {processes: {value: 2, why: w}}}\n  - {name: ▼a, limits: {processes: {value: 2, why: w}}}\n",
            ),
        ),
        (
            "workloads by name",
            file("version: 1\nworkloads:\n  ▼chat: {limits: {}}\n"),
        ),
        (
            "nothing kept free",
            file("version: 1\nhost: {keep_free: {memory: ▼0B}}\n"),
        ),
        (
            "kept free without a resource",
            file("version: 1\nhost: {▼keep_free: {}}\n"),
        ),
    ]);
    insta::assert_snapshot!(told);
}

#[test]
fn limits_without_a_value_or_a_reason_are_refused() {
    let told = errors(&[
        ("a number alone", limits("memory: ▼4GiB")),
        ("no reason", limits("▼memory: {value: 4GiB}")),
        (
            "an empty reason",
            limits("memory: {value: 4GiB, why: ▼\"\"}"),
        ),
        ("no value", limits("▼memory: {why: w}")),
        (
            "a slip in the name",
            limits("▼memmory: {value: 4GiB, why: w}"),
        ),
        ("somebody else's name", limits("▼cpus: {value: 4, why: w}")),
        (
            "a field that a limit does not have",
            limits("memory: {value: 4GiB, why: w, ▼reason: x}"),
        ),
        (
            "accepted by nobody",
            limits("memory: {value: 4GiB, why: w, ▼accepted: {on: 2026-11-20}}"),
        ),
        (
            "accepted on no day",
            limits("memory: {value: 4GiB, why: w, accepted: {by: ana, on: ▼2026-02-30}}"),
        ),
        (
            "accepted with a word",
            limits("memory: {value: 4GiB, why: w, accepted: ▼yes}"),
        ),
    ]);
    insta::assert_snapshot!(told);
}

#[test]
fn values_that_make_no_sense_are_refused() {
    let value = |key: &str, value: &str| limits(&format!("{key}: {{value: {value}, why: w}}"));
    let told = errors(&[
        ("no memory", value("memory", "▼0")),
        ("negative memory", value("memory", "▼-1GiB")),
        ("a forgotten unit", value("memory", "▼16")),
        ("a wrong unit", value("memory", "▼4Gb")),
        ("words", value("memory", "▼lots")),
        ("more than there can be", value("memory", "▼99999PiB")),
        (
            "nothing",
            value("▼memory", "").replace("▼memory: {value", "memory: {▼value"),
        ),
        ("a list", value("memory", "▼[1GiB]")),
        ("too little for any program", value("memory", "▼512KiB")),
        ("swap below nothing", value("swap", "▼-1B")),
        ("no CPU", value("cpu", "▼0")),
        ("a negative CPU", value("cpu", "▼-1")),
        ("a sliver of a CPU", value("cpu", "▼5m")),
        ("cores", value("cpu", "▼4 cores")),
        ("a weight of nothing", value("cpu_weight", "▼0")),
        ("a weight of version 1", value("cpu_weight", "▼262144")),
        ("CPUs the wrong way round", value("cpu_set", "▼\"3-0\"")),
        ("no CPUs", value("cpu_set", "▼\"\"")),
        ("a CPU twice", value("cpu_set", "▼\"0-3,2\"")),
        ("CPUs beyond any machine", value("cpu_set", "▼\"0-99999\"")),
        ("no process", value("processes", "▼0")),
        ("half a process", value("processes", "▼1.5")),
        ("more than Linux has", value("processes", "▼10000000")),
        (
            "no room for the standard streams",
            value("open_files", "▼2"),
        ),
        ("a rate without a time", value("io_read", "▼100MiB")),
        ("a rate a minute", value("io_write", "▼100MiB/min")),
        ("a rate of nothing", value("io_write", "▼0B/s")),
        ("no time", value("duration", "▼0s")),
        ("a time without a unit", value("duration", "▼60")),
        ("an age", value("cpu_time", "▼99999d")),
        ("a GPU twice", value("gpu_visible", "[0, ▼0]")),
        ("a GPU by a name", value("gpu_visible", "[▼H100]")),
        ("one GPU without a list", value("gpu_visible", "▼0")),
        ("more than a GPU", value("gpu_threads", "▼150%")),
        ("a part in tenths", value("gpu_threads", "▼0.5")),
        (
            "a GPU's memory in bytes",
            value("gpu_memory", "▼1000000001B"),
        ),
        ("no wired memory", value("mlx_wired", "▼0B")),
    ]);
    insta::assert_snapshot!(told);
}

#[test]
fn limits_that_contradict_one_another_are_refused() {
    let told = errors(&[
        ("high above memory", limits("memory: {value: 1GiB, why: w}, memory_high: {value: ▼2GiB, why: w}")),
        ("a cache above memory", limits("memory: {value: 1GiB, why: w}, mlx_cache: {value: ▼2GiB, why: w}")),
        ("MLX in less than it starts with", limits("memory: {value: ▼32MiB, why: w}, mlx_cache: {value: 1MiB, why: w}")),
        ("MLX by its rule in less than it starts with", one("match: {library: libmlx}, limits: {memory: {value: ▼32MiB, why: w}}")),
        ("MLX with one thread", one("match: {library: libmlx}, limits: {processes: {value: ▼1, why: w}}")),
        ("more CPU than the set has", limits("cpu: {value: ▼3, why: w}, cpu_set: {value: \"0-1\", why: w}")),
        ("a fallback above its own memory", one("limits: {memory: {value: 1GiB, why: w}, memory_high: {value: 900MiB, why: w}}, fallback: {command: [b], limits: {memory: {value: ▼512MiB, why: w}}}")),
        ("all wired memory above the budget", "version: 1\nhost: {wired: 10GiB}\nworkloads:\n  - {name: a, limits: {mlx_wired: {value: 8GiB, why: w}}}\n  - {name: b, limits: {mlx_wired: {value: ▼4GiB, why: w}}}\n".into()),
    ]);
    insta::assert_snapshot!(told);
}

#[test]
fn what_the_host_does_not_have_is_refused() {
    let value = |key: &str, value: &str| limits(&format!("{key}: {{value: {value}, why: w}}"));
    let told = transcript(Severity::Error, &host(), &[
        ("memory", value("memory", "▼17GiB")),
        ("memory_high", value("memory_high", "▼17GiB")),
        ("mlx_wired", value("mlx_wired", "▼1TiB")),
        ("cpu", value("cpu", "▼4.5")),
        ("cpu_set", value("cpu_set", "▼\"2-5\"")),
        ("a set beyond it altogether", value("cpu_set", "▼\"64-127\"")),
        ("all of it kept free", "version: 1\nhost: {keep_free: {memory: ▼16GiB}}\n".into()),
        ("raised into what is kept free", "version: 1\nhost: {keep_free: {memory: 8GiB}}\nworkloads:\n  - name: a\n    limits: {memory: {value: 8GiB, why: w}}\n    ladder: [{when: memory = 100%, do: pause, raise: 10%, most: ▼9GiB}]\n".into()),
        ("retried into what is kept free", "version: 1\nhost: {keep_free: {memory: 8GiB}}\nworkloads:\n  - name: a\n    limits: {memory: {value: 7GiB, why: w}}\n    retry: {times: 1, memory: ▼+25%}\n".into()),
    ]);
    insta::assert_snapshot!(told);
}

#[test]
fn what_a_host_is_not_known_to_lack_is_accepted() {
    for text in [
        limits(
            "memory: {value: 1TiB, why: w}, cpu: {value: 512, why: w}, cpu_set: {value: \"0-511\", why: w}",
        ),
        "version: 1\nhost: {keep_free: {memory: 1PiB}}\n".to_owned(),
    ] {
        assert_eq!(rendered(&said_of(&text, &Host::default())), "");
    }
}

#[test]
fn steps_that_make_no_sense_are_refused() {
    let told = errors(&[
        (
            "no condition",
            ladder("{▼do: warn}").replace("{▼do", "▼{do"),
        ),
        ("no action", ladder("▼{when: memory > 90%}")),
        (
            "an unknown action",
            ladder("{when: memory > 90%, do: ▼thottle}"),
        ),
        ("a condition on nothing", ladder("{when: ▼90%, do: warn}")),
        (
            "a resource that no ladder watches",
            ladder("{when: ▼open_files > 90%, do: warn}"),
        ),
        ("an amount", ladder("{when: ▼memory > 900MiB, do: warn}")),
        ("below", ladder("{when: ▼memory < 10%, do: warn}")),
        ("more than all", ladder("{when: ▼memory > 100%, do: warn}")),
        ("exactly a part", ladder("{when: ▼memory = 90%, do: warn}")),
        (
            "only memory thrashes",
            ladder("{when: ▼cpu thrashing, do: warn}"),
        ),
        (
            "below a stop for the same",
            ladder("{when: memory thrashing, do: stop}, ▼{when: memory thrashing, do: warn}"),
        ),
        (
            "ended for thrashing before that is known",
            ladder("{when: memory > 90%, do: warn}").replacen(
                "limits:",
                "end_thrashing: ▼5s, limits:",
                1,
            ),
        ),
        (
            "ended for thrashing at no time",
            ladder("{when: memory > 90%, do: warn}").replacen(
                "limits:",
                "end_thrashing: ▼soon, limits:",
                1,
            ),
        ),
        ("no limit", ladder("{when: ▼processes > 90%, do: warn}")),
        (
            "a field of another action",
            ladder("{when: memory > 90%, do: warn, ▼grace: 5s}"),
        ),
        (
            "throttled to nothing that is said",
            ladder("▼{when: memory > 90%, do: throttle}"),
        ),
        (
            "throttled to its own limit",
            ladder("{when: memory > 90%, do: throttle, cpu: ▼2}"),
        ),
        (
            "throttled above its memory",
            ladder("{when: memory > 90%, do: throttle, memory_high: ▼1GiB}"),
        ),
        (
            "a pause without bounds",
            ladder("▼▼{when: memory = 100%, do: pause}"),
        ),
        (
            "a pause for another limit",
            ladder("{when: cpu = 100%, do: ▼pause, raise: 25%, most: 2GiB}"),
        ),
        (
            "a raise to less",
            ladder("{when: memory = 100%, do: pause, raise: 25%, most: ▼1GiB}"),
        ),
        (
            "a raise of nothing",
            ladder("{when: memory = 100%, do: pause, raise: ▼0%, most: 2GiB}"),
        ),
        (
            "a checkpoint without a way",
            ladder("▼{when: memory > 90%, do: checkpoint}"),
        ),
        (
            "a checkpoint both ways",
            ladder("{when: memory > 90%, do: checkpoint, signal: USR1, ▼hook: [./save.sh]}"),
        ),
        (
            "a checkpoint by SIGKILL",
            ladder("{when: memory > 90%, do: checkpoint, signal: ▼KILL}"),
        ),
        (
            "a checkpoint by a shell line",
            ladder("{when: memory > 90%, do: checkpoint, hook: ▼./save.sh --all}"),
        ),
        (
            "a grace of nothing",
            ladder("{when: memory > 90%, do: stop, grace: ▼0s}"),
        ),
        (
            "after a stop",
            ladder("{when: memory > 90%, do: stop}, ▼{when: memory > 95%, do: warn}"),
        ),
        (
            "out of order",
            ladder(
                "{when: memory > 95%, after: 20s, do: warn}, ▼{when: memory > 90%, after: 5s, do: stop}",
            ),
        ),
        (
            "twice the same",
            ladder("{when: memory > 95%, do: warn}, ▼{when: memory > 95%, do: warn}"),
        ),
    ]);
    insta::assert_snapshot!(told);
}

#[test]
fn commands_retries_and_fronts_that_make_no_sense_are_refused() {
    let with = |fields: &str| {
        one(&format!(
            "limits: {{memory: {{value: 1GiB, why: w}}}}, {fields}"
        ))
    };
    let front = |fields: &str| with(&format!("front: {{{fields}}}"));
    let told = errors(&[
        ("a command as one text", with("command: ▼python server.py")),
        ("a command of nothing", with("command: ▼[]")),
        ("a program without a name", with("command: [▼\"\"]")),
        ("a baseline somewhere", with("baseline: ▼/etc/chat.yaml")),
        ("a fallback that is the command", with("command: [a, b], fallback: {command: ▼[a, b]}")),
        ("a fallback without a command", with("▼fallback: {}")),
        ("retries without a number", with("▼retry: {first: 1s}")),
        ("no retries", with("retry: {times: ▼0}")),
        ("a first wait above the longest", with("retry: {times: 3, first: ▼2m, most: 1m}")),
        ("a window that never fills", with("retry: {times: 10, first: 1m, most: 10m, within: ▼10m}")),
        ("more memory of none", one("limits: {cpu: {value: 1, why: w}}, retry: {times: 1, memory: ▼+25%}")),
        ("less memory", with("retry: {times: 1, memory: ▼-25%}")),
        ("a front with one side", front("▼listen: \"127.0.0.1:1\"").replace("front: {▼", "▼front: {")),
        ("a front to itself", front("listen: \"127.0.0.1:8080\", to: ▼\"127.0.0.1:8080\"")),
        ("a front to itself on all addresses", front("listen: \"0.0.0.0:8080\", to: ▼\"127.0.0.1:8080\"")),
        ("a front by name", front("listen: ▼localhost:8080, to: \"127.0.0.1:8081\"")),
        ("a front by port", front("listen: \"127.0.0.1:8080\", to: ▼8081")),
        ("a front to nowhere", front("listen: \"127.0.0.1:8080\", to: ▼\"127.0.0.1:0\"")),
        ("a fallback that is the server", front("listen: \"127.0.0.1:8080\", to: \"127.0.0.1:8081\", fallback: ▼\"127.0.0.1:8081\"")),
        ("figures for everybody", front("listen: \"127.0.0.1:8080\", to: \"127.0.0.1:8081\", metrics: ▼\"0.0.0.0:9180\"")),
        ("figures where the front is", front("listen: \"0.0.0.0:8080\", to: \"127.0.0.1:8081\", metrics: ▼\"127.0.0.1:8080\"")),
        ("a host of a network", front("listen: \"127.0.0.1:8080\", to: \"127.0.0.1:8081\", trust: [▼\"10.1.2.3/8\"]")),
        ("a proxy by name", front("listen: \"127.0.0.1:8080\", to: \"127.0.0.1:8081\", trust: [▼nginx]")),
        ("one proxy without a list", front("listen: \"127.0.0.1:8080\", to: \"127.0.0.1:8081\", trust: ▼\"10.0.0.0/8\"")),
        ("a fallback that is the front", front("listen: \"127.0.0.1:8080\", to: \"127.0.0.1:8081\", fallback: ▼\"127.0.0.1:8080\"")),
        ("nothing in flight", front("listen: \"127.0.0.1:8080\", to: \"127.0.0.1:8081\", in_flight: ▼0")),
        ("two fronts at one place", "version: 1\nworkloads:\n  - {name: a, limits: {processes: {value: 2, why: w}}, front: {listen: \"127.0.0.1:1\", to: \"127.0.0.1:2\"}}\n  - {name: b, limits: {processes: {value: 2, why: w}}, front: {listen: ▼\"127.0.0.1:1\", to: \"127.0.0.1:3\"}}\n".into()),
    ]);
    insta::assert_snapshot!(told);
}

#[test]
fn rules_that_rest_on_nothing_are_refused() {
    let rule = |fields: &str| {
        one(&format!(
            "limits: {{memory: {{value: 1GiB, why: w}}}}, match: {{{fields}}}"
        ))
    };
    let told = errors(&[
        (
            "an empty rule",
            rule("▼").replace("match: {▼}", "match: ▼{}"),
        ),
        (
            "a command alone",
            rule("▼command: \"python*\"").replace("match: {▼", "match: ▼{"),
        ),
        (
            "an environment alone",
            rule("▼environment: {A: b}").replace("match: {▼", "match: ▼{"),
        ),
        ("every command", rule("user: ana, command: ▼\"**\"")),
        ("every program", rule("library: ▼lib")),
        (
            "a library by its path",
            rule("library: ▼/usr/lib/libmlx.so"),
        ),
        ("a unit without its kind", rule("unit: ▼chat")),
        ("a unit that has no processes", rule("unit: ▼chat.timer")),
        ("a user that cannot be", rule("user: ▼\"ana li\"")),
        ("a container that cannot be", rule("container: ▼../x")),
        (
            "a variable that cannot be",
            rule("user: ana, environment: {▼\"A-B\": c}"),
        ),
        ("no variable", rule("user: ana, environment: ▼{}")),
    ]);
    insta::assert_snapshot!(told);
}

#[test]
fn what_is_doubtful_is_told_and_taken() {
    let two = |a: &str, b: &str| {
        format!(
            "version: 1\nworkloads:\n  - {{name: a, match: {{{a}}}, limits: {{processes: {{value: 2, why: w}}}}}}\n  - {{name: b, match: {b}, limits: {{processes: {{value: 2, why: w}}}}}}\n"
        )
    };
    let front = "front: {listen: \"127.0.0.1:1\", to: \"127.0.0.1:2\", in_flight: 2, queue: 2, ▼per_client: 5}";
    let told = transcript(Severity::Warning, &host(), &[
        ("no limits", "version: 1\nworkloads:\n  - ▼name: a\n".into()),
        ("an empty set of limits", "version: 1\nworkloads: [{name: a, ▼limits: {}}]\n".into()),
        ("high that is memory", limits("memory: {value: 1GiB, why: w}, memory_high: {▼value: 1GiB, why: w}")),
        ("an advisory limit above the hard one", limits("memory: {value: 1GiB, why: w}, mlx_memory: {▼value: 2GiB, why: w}")),
        ("more files than usual", limits("open_files: {▼value: 2000000, why: w}")),
        ("CPU time that cannot be had", limits("cpu: {value: 1, why: w}, duration: {value: 1h, why: w}, cpu_time: {▼value: 2h, why: w}")),
        ("waiting at the kernel's limit", ladder("{when: memory = 100%, ▼after: 5s, do: warn}")),
        ("saving without memory", ladder("{▼when: memory = 100%, do: checkpoint, signal: USR1}")),
        ("a raise that is cut", ladder("{when: memory = 100%, do: pause, ▼raise: 200%, most: 2GiB}")),
        ("a grace that MLX does not meet", one("match: {library: libmlx}, limits: {memory: {value: 1GiB, why: w}}, ladder: [{when: memory > 95%, do: stop, ▼grace: 5s}]")),
        ("a retry that is cut", one("limits: {memory: {value: 10GiB, why: w}}, retry: {times: 3, ▼memory: +50%}")),
        ("a client that may have more than all", one(&format!("limits: {{processes: {{value: 2, why: w}}}}, {front}"))),
        ("all processes of a user", one("match: {▼user: ana}, limits: {processes: {value: 2, why: w}}")),
        ("two rules for one process", two("library: libmlx", "▼{user: ana, command: \"python*\"}").replace("match: ▼{", "▼match: {")),
        ("a user by name and number", two("user: ana, library: libmlx", "▼{user: 1000, library: libmlx}").replace("match: ▼{", "▼match: {")),
        ("more than the host has together", "version: 1\nhost: {keep_free: {memory: 2GiB}}\n▼workloads:\n  - {name: a, limits: {memory: {value: 10GiB, why: w}}}\n  - {name: b, limits: {memory: {value: 6GiB, why: w}}}\n".into()),
    ]);
    insta::assert_snapshot!(told);
}

#[test]
fn rules_that_no_process_can_fit_together_are_not_doubted() {
    for (a, b) in [
        (
            "{user: ana, library: libmlx}",
            "{user: li, library: libmlx}",
        ),
        ("{unit: a.service}", "{unit: b.service}"),
        ("{container: aa}", "{container: ab}"),
        (
            "{user: ana, command: \"python* a.py\"}",
            "{user: ana, command: \"python* b.py\"}",
        ),
        (
            "{library: libmlx, environment: {W: a}}",
            "{library: libmlx, environment: {W: b}}",
        ),
    ] {
        let text = format!(
            "version: 1\nworkloads:\n  - {{name: a, match: {a}, limits: {{processes: {{value: 2, why: w}}}}}}\n  - {{name: b, match: {b}, limits: {{processes: {{value: 2, why: w}}}}}}\n"
        );
        assert_eq!(rendered(&said_of(&text, &host())), "", "{a} {b}");
    }
}
