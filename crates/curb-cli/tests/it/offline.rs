//! Commands that need no server, run as a user runs them: the built binary, in a directory of its own.

use std::path::Path;
use std::process::{Command, Output};

use curb_journal::{Journal, Reader};
use tempfile::TempDir;

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn curb_with(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_curb"));
    command
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("TZ", "UTC")
        .envs(env.iter().copied());
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("curb runs");
    Ran {
        code: status.code().expect("it was not killed"),
        out: String::from_utf8(stdout).expect("text"),
        err: String::from_utf8(stderr).expect("text"),
    }
}

fn curb(dir: &TempDir, args: &[&str]) -> Ran {
    curb_with(dir.path(), args, &[])
}

fn here() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn write(dir: &TempDir, name: &str, text: &str) {
    std::fs::write(dir.path().join(name), text).expect("written");
}

#[test]
fn a_first_token_makes_the_journal_and_only_the_token_is_on_stdout() {
    let dir = here();
    let ran = curb(
        &dir,
        &[
            "token",
            "create",
            "--user",
            "ana",
            "--role",
            "admin",
            "--expires",
            "90d",
            "--label",
            "p=x",
            "--data",
            "d",
        ],
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    let token = ran.out.strip_suffix('\n').expect("one line");
    let id = curb_api::token::id_of(token).expect("a token");
    assert!(
        ran.err.contains("made a new journal in d") && !ran.err.contains(token),
        "{}",
        ran.err
    );

    let reader = Reader::open(&dir.path().join("d")).expect("a journal");
    let records = reader.range(0, 10).expect("records");
    let event: curb_core::ledger::Event =
        serde_json::from_slice(&records[0].payload).expect("an event");
    let curb_core::ledger::Event::TokenCreated(kept) = event else {
        panic!("a token, not {event:?}")
    };
    assert_eq!(
        (kept.id.as_str(), kept.user.as_str(), kept.hash),
        (id, "ana", curb_api::token::hash(token))
    );
    assert_eq!(
        kept.expires.map(|e| e.since(kept.created).0),
        Some(90 * 86_400_000)
    );
    let stored = std::fs::read(dir.path().join("d/journal.sqlite")).expect("the file");
    let secret = &token.as_bytes()[14..];
    assert!(
        !stored.windows(secret.len()).any(|w| w == secret),
        "the secret is nowhere on the disk"
    );
}

#[test]
fn tokens_are_listed_and_revoked_without_a_server() {
    let dir = here();
    for user in ["ana", "li"] {
        assert_eq!(
            curb(&dir, &["token", "create", "--user", user, "--data", "d"]).code,
            0
        );
    }
    let listed = curb(&dir, &["token", "list", "--data", "d", "--json"]);
    let listed: curb_api::Tokens = serde_json::from_str(&listed.out).expect("JSON");
    let li = &listed.tokens[1];
    assert_eq!(
        (listed.tokens.len(), li.user.as_str(), li.expires),
        (2, "li", None)
    );
    let revoked = curb(&dir, &["token", "revoke", &li.id, "--data", "d", "--json"]);
    assert_eq!(revoked.code, 0, "{}", revoked.err);
    let said: serde_json::Value = serde_json::from_str(&revoked.out).expect("JSON");
    assert_eq!(said, serde_json::json!({"id": li.id, "revoked": true}));
    let again = curb(&dir, &["token", "revoke", &li.id, "--data", "d"]);
    assert_eq!(again.code, 8, "{}", again.err);
    let left = curb(&dir, &["token", "list", "--data", "d"]);
    assert!(
        left.out.contains("ana") && !left.out.contains(" li "),
        "{}",
        left.out
    );
}

#[test]
fn a_token_is_revoked_by_what_people_have_of_it_and_its_secret_is_not_repeated() {
    let dir = here();
    for form in ["id", "curb_id", "whole"] {
        let made = curb(&dir, &["token", "create", "--user", "ana", "--data", "d"]);
        let token = made.out.trim();
        let id = curb_api::token::id_of(token).expect("a token");
        let given = match form {
            "id" => id.to_owned(),
            "curb_id" => format!("curb_{id}"),
            _ => token.to_owned(),
        };
        for (wanted, says) in [(0, "is revoked"), (8, "there is no token")] {
            let ran = curb(&dir, &["token", "revoke", &given, "--data", "d"]);
            assert_eq!(ran.code, wanted, "{form}: {}", ran.err);
            assert!(
                ran.err.contains(says) && ran.err.contains(id),
                "{}",
                ran.err
            );
            assert!(!ran.err.contains(&token[14..]), "{}", ran.err);
        }
    }
}

#[test]
fn what_is_given_twice_on_the_command_line_is_refused() {
    let dir = here();
    for line in [
        "token create --user ana --label a=b --label a=c --data d",
        "submit --env A=1 --env A=2 -- true",
        "enforce --yes --why x --since 1d",
        "enforce --preview --why x",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let ran = curb(&dir, &words);
        assert_eq!(ran.code, 2, "{line}: {}", ran.err);
    }
    assert!(!dir.path().join("d").exists(), "nothing was made for it");
}

#[test]
fn what_is_wrong_is_told_before_the_server_makes_anything() {
    let dir = here();
    write(&dir, "right.yaml", "version: 1\n");
    write(&dir, "wrong.yaml", "version: 1\nquotas: 5\n");
    let serve = [
        "serve",
        "--data",
        "d",
        "--ray",
        "http://127.0.0.1:9",
        "--listen",
        "127.0.0.1:0",
        "--policy",
    ];
    let none: &[(&str, &str)] = &[];
    for (more, env, code, says) in [
        (
            &["missing.yaml"][..],
            none,
            7,
            "cannot read the policy missing.yaml",
        ),
        (&["wrong.yaml"], none, 7, "wrong.yaml:2:9"),
        (&["/dev/zero"], none, 7, "it is larger than"),
        (&["."], none, 7, "directory"),
        (
            &["right.yaml", "--host", "http://curb"],
            none,
            2,
            "hosts (from --host)",
        ),
        (
            &["right.yaml"],
            &[("CURB_HOSTS", "a b")],
            2,
            "hosts (from CURB_HOSTS)",
        ),
        (
            &["right.yaml"],
            &[("CURB_RAY_TOKEN", "a\nb")],
            2,
            "(from CURB_RAY_TOKEN)",
        ),
    ] {
        let ran = curb_with(dir.path(), &[&serve[..], more].concat(), env);
        assert_eq!(ran.code, code, "{more:?}: {}", ran.err);
        assert!(ran.err.contains(says), "{more:?}: {}", ran.err);
        assert!(
            !dir.path().join("d").exists(),
            "{more:?} made the data directory"
        );
    }
}

#[test]
fn a_file_without_an_end_is_read_no_further_than_the_bound() {
    let dir = here();
    for line in [
        "policy check /dev/zero",
        "policy show /dev/zero",
        "status --token-file /dev/zero",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let ran = curb(&dir, &words);
        assert_eq!(ran.code, 7, "{line}: {}", ran.err);
        assert!(ran.err.contains("has more than"), "{line}: {}", ran.err);
    }
}

#[test]
fn a_token_that_no_header_can_carry_is_told_as_that() {
    let dir = here();
    for (name, token) in [("a", "t\u{f6}ken".to_owned()), ("b", "a".repeat(20_000))] {
        std::fs::write(dir.path().join(name), token).expect("a file");
        let ran = curb(&dir, &["status", "--token-file", name]);
        assert_eq!(ran.code, 2, "{}", ran.err);
        assert!(
            ran.err.contains("the token is too long, or has"),
            "{}",
            ran.err
        );
    }
}

#[test]
fn while_a_server_holds_the_journal_only_the_server_makes_tokens() {
    let dir = here();
    let held = Journal::open(&dir.path().join("d")).expect("a journal");
    let ran = curb(&dir, &["token", "create", "--user", "ana", "--data", "d"]);
    assert_eq!((ran.code, ran.out.as_str()), (7, ""));
    let pid = std::process::id().to_string();
    assert!(
        ran.err.contains(&pid) && ran.err.contains("leave --data out"),
        "{}",
        ran.err
    );
    drop(held);
    assert_eq!(
        curb(&dir, &["token", "create", "--user", "ana", "--data", "d"]).code,
        0
    );
}

#[test]
fn a_sound_journal_is_told_apart_from_a_damaged_one() {
    let dir = here();
    for user in ["ana", "li", "kim"] {
        assert_eq!(
            curb(&dir, &["token", "create", "--user", user, "--data", "d"]).code,
            0
        );
    }
    let sound = curb(&dir, &["journal", "verify", "--data", "d"]);
    assert_eq!(sound.code, 0);
    assert!(sound.out.starts_with("sound: 3 records"), "{}", sound.out);

    let path = dir.path().join("d/journal.sqlite");
    let bytes = std::fs::read(&path).expect("the file");
    let at = bytes
        .windows(11)
        .position(|w| w == b"\"user\":\"li\"")
        .expect("li's record is there");
    let mut changed = bytes;
    changed[at + 8] = b'x';
    std::fs::write(&path, changed).expect("written");
    let damaged = curb(&dir, &["journal", "verify", "--data", "d", "--json"]);
    assert_eq!(damaged.code, 6, "{}{}", damaged.out, damaged.err);
    let report: serde_json::Value = serde_json::from_str(&damaged.out).expect("JSON");
    assert_eq!(
        (&report["sound"], &report["first_break"]["seq"]),
        (&false.into(), &2.into())
    );
    let exported = curb(&dir, &["journal", "export", "--data", "d"]);
    assert_eq!(exported.code, 6, "{}", exported.err);
    assert_eq!(exported.out.lines().count(), 4, "all of it is written");
    assert!(exported.err.contains("DAMAGED"), "{}", exported.err);
    let copied = curb(&dir, &["journal", "backup", "--data", "d", "copy"]);
    assert_eq!(copied.code, 6, "{}", copied.err);
}

#[test]
fn a_backup_is_a_data_directory_with_all_that_is_in_the_first() {
    let dir = here();
    assert_eq!(
        curb(&dir, &["token", "create", "--user", "ana", "--data", "d"]).code,
        0
    );
    let place = dir.path().join("d/packages/ana");
    std::fs::create_dir_all(&place).expect("made");
    std::fs::write(place.join("p.zip"), b"zip").expect("written");
    std::fs::create_dir_all(dir.path().join("d/packages/.partial")).expect("made");
    // As beside a running server.
    let held = Journal::open(&dir.path().join("d")).expect("a journal");
    let first = curb(
        &dir,
        &["journal", "backup", "--data", "d", "other", "--json"],
    );
    let said: serde_json::Value = serde_json::from_str(&first.out).expect("JSON");
    assert_eq!(
        (&said["to"], &said["records"], &said["packages"]),
        (
            &serde_json::json!("other"),
            &serde_json::json!(1),
            &serde_json::json!(1)
        )
    );
    let made = curb(&dir, &["journal", "backup", "--data", "d", "copy"]);
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(
        made.err.contains("copied 1 records and 1 packages to copy"),
        "{}",
        made.err
    );
    drop(held);
    assert_eq!(
        std::fs::read(dir.path().join("copy/packages/ana/p.zip")).expect("it is there"),
        b"zip"
    );
    assert!(!dir.path().join("copy/packages/.partial").exists());
    let listed = curb(&dir, &["token", "list", "--data", "copy"]);
    assert!(listed.out.contains("ana"), "{}", listed.out);
    let more = curb(&dir, &["token", "create", "--user", "li", "--data", "copy"]);
    assert_eq!(more.code, 0, "the copy can be written: {}", more.err);
    let sound = curb(&dir, &["journal", "verify", "--data", "copy"]);
    assert!(sound.out.starts_with("sound: 2 records"), "{}", sound.out);
    let again = curb(&dir, &["journal", "backup", "--data", "d", "copy"]);
    assert!(
        again.code == 7 && again.err.contains("nothing is overwritten"),
        "{}",
        again.err
    );
}

#[test]
fn what_is_no_journal_at_all_is_told_as_a_damaged_one() {
    let dir = here();
    std::fs::create_dir(dir.path().join("d")).expect("made");
    write(&dir, "d/journal.sqlite", &"junk ".repeat(1000));
    for command in ["verify", "export"] {
        let ran = curb(&dir, &["journal", command, "--data", "d"]);
        assert_eq!((ran.code, ran.out.as_str()), (6, ""), "{}", ran.err);
    }
}

#[test]
fn the_last_token_of_an_admin_is_revoked_only_by_force() {
    let dir = here();
    let admin = [
        "token", "create", "--user", "ana", "--role", "admin", "--data", "d",
    ];
    let made = curb(&dir, &admin);
    let id = curb_api::token::id_of(made.out.trim())
        .expect("a token")
        .to_owned();
    let refused = curb(&dir, &["token", "revoke", &id, "--data", "d"]);
    assert_eq!(refused.code, 8);
    assert!(
        refused.err.contains("the last one of an admin"),
        "{}",
        refused.err
    );
    assert_eq!(curb(&dir, &admin).code, 0);
    assert_eq!(curb(&dir, &["token", "revoke", &id, "--data", "d"]).code, 0);
    let listed = curb(&dir, &["token", "list", "--data", "d", "--json"]);
    let listed: curb_api::Tokens = serde_json::from_str(&listed.out).expect("JSON");
    let last = &listed.tokens[0].id;
    assert_eq!(
        curb(&dir, &["token", "revoke", last, "--data", "d"]).code,
        8
    );
    assert_eq!(
        curb(&dir, &["token", "revoke", last, "--force", "--data", "d"]).code,
        0
    );
}

#[test]
fn a_policy_may_come_on_stdin() {
    let dir = here();
    let mut child = Command::new(env!("CARGO_BIN_EXE_curb"))
        .args(["policy", "check", "-"])
        .current_dir(dir.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("curb runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut stdin, b"version: 1\nmodus: x\n").expect("written");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let out = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(1));
    assert!(out.contains("-:2:1: error:"), "{out}");
}

#[test]
fn the_journal_is_shown_and_exported_without_a_server() {
    let dir = here();
    assert_eq!(
        curb(&dir, &["token", "create", "--user", "ana", "--data", "d"]).code,
        0
    );
    let tail = curb(&dir, &["journal", "tail", "--data", "d"]);
    assert!(
        tail.out.contains("token_created") && tail.out.contains("for ana (user)"),
        "{}",
        tail.out
    );
    assert_eq!(
        curb(&dir, &["journal", "tail", "--data", "d", "--kind", "ended"]).out,
        ""
    );
    let foo = curb(&dir, &["journal", "tail", "--data", "d", "--kind", "foo"]);
    assert!(
        foo.code == 2
            && foo
                .err
                .contains("there is no such kind; there are: policy_applied"),
        "{}",
        foo.err
    );
    let json = curb(&dir, &["journal", "tail", "--data", "d", "--json"]);
    let record: curb_api::JournalRecord =
        serde_json::from_str(&json.out).expect("one line of JSON");
    assert_eq!(record.seq, 1);

    assert_eq!(
        curb(&dir, &["journal", "export", "--data", "d", "--out", "e"]).code,
        0
    );
    let exported = std::fs::read_to_string(dir.path().join("e")).expect("the export");
    assert_eq!(
        exported,
        curb(&dir, &["journal", "export", "--data", "d"]).out
    );
    assert!(exported.lines().count() >= 2 && exported.contains(&record.hash));
    let again = curb(&dir, &["journal", "export", "--data", "d", "--out", "e"]);
    assert!(
        again.code == 7 && again.err.contains("nothing is overwritten"),
        "{}",
        again.err
    );
}

#[test]
fn a_journal_that_is_not_there_is_not_made_by_looking() {
    let dir = here();
    for args in [
        &["journal", "verify", "--data", "d"][..],
        &["token", "list", "--data", "d"],
        &["token", "revoke", "x", "--data", "d"],
    ] {
        let ran = curb(&dir, args);
        assert_eq!(ran.code, 7, "{}", ran.err);
        assert!(!dir.path().join("d").exists());
    }
}

#[test]
fn a_policy_is_checked_with_all_that_is_wrong_at_its_place() {
    let dir = here();
    write(
        &dir,
        "good.yaml",
        "version: 1\nquotas:\n  - {name: a, limits: {gpu: 4}}\n",
    );
    write(
        &dir,
        "bad.yaml",
        "version: 1\nmodus: x\nquotas:\n  - {name: a, limits: {gpus: 4, cpu: lots}}\n",
    );
    let good = curb(&dir, &["policy", "check", "good.yaml"]);
    assert_eq!(
        (good.code, good.out.as_str(), good.err.as_str()),
        (0, "", "good.yaml: nothing is wrong\n")
    );
    let bad = curb(&dir, &["policy", "check", "good.yaml", "bad.yaml"]);
    assert_eq!(bad.code, 1);
    for place in ["bad.yaml:2:1: error:", "bad.yaml:4:24: error:"] {
        assert!(bad.out.contains(place), "{}", bad.out);
    }
    let json = curb(&dir, &["policy", "check", "bad.yaml", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(
        (&json[0]["ok"], json[0]["findings"].as_array().map(Vec::len)),
        (&false.into(), Some(3))
    );
    assert_eq!(curb(&dir, &["policy", "check", "none.yaml"]).code, 7);
}

#[test]
fn a_policy_is_shown_with_its_defaults_and_reads_back() {
    let dir = here();
    write(
        &dir,
        "p.yaml",
        "version: 1\nquotas:\n  - {name: a, limits: {gpu: 4}}\n",
    );
    let shown = curb(&dir, &["policy", "show", "p.yaml"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    write(&dir, "q.yaml", &shown.out);
    assert_eq!(curb(&dir, &["policy", "show", "q.yaml"]).out, shown.out);
    write(&dir, "bad.yaml", "version: 9\n");
    let bad = curb(&dir, &["policy", "show", "bad.yaml"]);
    assert!(
        bad.code == 7 && bad.err.contains("bad.yaml:1:"),
        "{}",
        bad.err
    );
}

#[test]
fn both_schemas_are_json_and_name_their_draft() {
    let dir = here();
    for (args, draft) in [
        (&["policy", "schema"][..], "2020-12"),
        (&["policy", "schema", "--draft07"], "draft-07"),
    ] {
        let schema: serde_json::Value = serde_json::from_str(&curb(&dir, args).out).expect("JSON");
        assert!(
            schema["$schema"]
                .as_str()
                .is_some_and(|s| s.contains(draft))
        );
    }
}

#[test]
fn a_wrong_command_line_ends_with_2_and_says_what_is_right() {
    let dir = here();
    for (args, told) in [
        (
            &["submit", "--gpu", "lots", "--", "true"][..],
            "write a number of units",
        ),
        (&["submit"], "<CMD>"),
        (
            &["submit", "--priority", "high", "--", "true"],
            "write a whole number such as 10",
        ),
        (&["submit", "--memory", "16", "--", "true"], "`16GiB`"),
        (
            &["submit", "--duration", "0s", "--", "true"],
            "a job of no duration cannot be",
        ),
        (
            &["token", "create", "--user", "ana", "--expires", "9999d"],
            "too long",
        ),
        (
            &[
                "override", "add", "--user", "ana", "--gpu", "2", "--for", "48h", "--why", "x",
            ],
            "write +2 for more",
        ),
        (
            &[
                "override", "add", "--gpu", "+2", "--for", "48h", "--why", "x",
            ],
            "--user",
        ),
        (
            &[
                "override", "add", "--user", "ana", "--gpu", "+2", "--for", "soon", "--why", "x",
            ],
            "not a duration",
        ),
        (&["enforce", "--yes"], "--why"),
        (&["jobs", "release", "x"], "--why"),
        (&["jobs", "--state", "pending"], "not a state of jobs"),
        (&["token", "create", "--user", "a b"], "cannot be a name"),
        (&["jobs", "show", "a/b"], "cannot be the id of a job"),
        (&["help", "nope"], "there is no command `curb nope`"),
        (&["help", "reason", "nope"], "there is no reason `nope`"),
        (&["status", "--address", "https://x"], "TLS"),
        (&["init", "--ray", "ray:8265"], "http://"),
    ] {
        let ran = curb(&dir, args);
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.err);
        assert!(ran.err.contains(told), "{args:?}: {}", ran.err);
        assert_eq!(ran.out, "", "{args:?}");
    }
}

#[test]
fn no_server_ends_with_5_and_asks_whether_it_runs() {
    let dir = here();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a free port")
        .port();
    let address = format!("http://127.0.0.1:{port}");
    // What the environment says is not in the usage of a wrong command line.
    let wrong = curb_with(dir.path(), &["submit"], &[("CURB_ADDRESS", &address)]);
    assert!(
        wrong.code == 2 && !wrong.err.contains("--address"),
        "{}",
        wrong.err
    );
    for args in [
        &["status"][..],
        &["jobs"],
        &["quota"],
        &["submit", "--", "true"],
        &["token", "list"],
        &["journal", "tail"],
    ] {
        let ran = curb_with(dir.path(), args, &[("CURB_ADDRESS", &address)]);
        assert_eq!((ran.code, ran.out.as_str()), (5, ""), "{args:?}");
        assert!(
            ran.err
                .contains(&format!("is `curb serve` running at {address}?")),
            "{args:?}: {}",
            ran.err
        );
    }
}

#[test]
fn a_flag_goes_before_the_environment() {
    let dir = here();
    let ran = curb_with(
        dir.path(),
        &["status", "--address", "ftp://flag"],
        &[("CURB_ADDRESS", "ftp://env")],
    );
    assert!(ran.err.contains("ftp://flag"), "{}", ran.err);
    let ran = curb_with(dir.path(), &["status"], &[("CURB_ADDRESS", "ftp://env")]);
    assert!(ran.err.contains("ftp://env"), "{}", ran.err);
    let ran = curb_with(
        dir.path(),
        &["status", "--token-file", "none"],
        &[("CURB_TOKEN", "x")],
    );
    assert!(
        ran.code == 7 && ran.err.contains("cannot read the token file none"),
        "{}",
        ran.err
    );
    write(&dir, "empty", "\n");
    let ran = curb(&dir, &["status", "--token-file", "empty"]);
    assert!(
        ran.code == 7 && ran.err.contains("the token file empty is empty"),
        "{}",
        ran.err
    );
}

#[test]
fn help_goes_to_stdout_and_topics_are_found() {
    let dir = here();
    for args in [
        &["help"][..],
        &["--help"],
        &["help", "jobs", "stop"],
        &["jobs", "stop", "--help"],
        &["help", "exit-codes"],
        &["help", "reason"],
        &["help", "reason", "capacity"],
    ] {
        let ran = curb(&dir, args);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
        assert!(!ran.out.is_empty() && !ran.out.contains('\u{1b}'));
    }
}

#[test]
fn init_overwrites_nothing() {
    let dir = here();
    write(&dir, "curb.yaml", "mine");
    let ran = curb(&dir, &["init", "--ray", "http://127.0.0.1:1"]);
    assert_eq!(ran.code, 7);
    assert!(
        ran.err.contains("curb.yaml is there already"),
        "{}",
        ran.err
    );
    assert_eq!(
        std::fs::read_to_string(dir.path().join("curb.yaml")).expect("it is there"),
        "mine"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let dir = here();
    let mut child = Command::new(env!("CARGO_BIN_EXE_curb"))
        .args(["policy", "schema"])
        .current_dir(dir.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("curb runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), &b""[..])
    );
}

#[test]
fn a_server_that_cannot_start_says_why_and_ends_with_7_or_2_for_a_flag() {
    let dir = here();
    let held = Journal::open(&dir.path().join("held")).expect("a journal");
    write(&dir, "bad.yaml", "version: 1\nmodus: x\n");
    let ray = "http://127.0.0.1:1";
    write(&dir, "slip.yaml", "listn: x\n");
    for (args, told) in [
        (&["serve"][..], "no Ray cluster is configured"),
        (
            &["serve", "--ray", ray, "--config", "slip.yaml"],
            "did you mean `listen`?",
        ),
        (&["serve", "--ray", "ftp://x"], "--ray"),
        (&["serve", "--ray", ray, "--listen", "nowhere"], "--listen"),
        (
            &["serve", "--ray", ray, "--config", "none.yaml"],
            "cannot read the configuration file none.yaml",
        ),
        (
            &[
                "serve",
                "--ray",
                ray,
                "--listen",
                "127.0.0.1:0",
                "--data",
                "held",
            ],
            "is in use by",
        ),
        (
            &[
                "serve",
                "--ray",
                ray,
                "--listen",
                "127.0.0.1:0",
                "--data",
                "d",
                "--policy",
                "bad.yaml",
            ],
            "bad.yaml:2:1: error:",
        ),
    ] {
        let ran = curb(&dir, args);
        let wrong_flag = told.starts_with("--");
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (if wrong_flag { 2 } else { 7 }, ""),
            "{args:?}: {}",
            ran.err
        );
        assert!(ran.err.contains(told), "{args:?}: {}", ran.err);
    }
    drop(held);
}

#[test]
fn a_wrong_variable_ends_a_server_with_2_as_the_same_wrong_flag_does() {
    let dir = here();
    for (variable, value) in [
        ("CURB_RAY", "ftp://x"),
        ("CURB_LISTEN", "nowhere"),
        ("CURB_START_RATE", "fast"),
        ("CURB_LOG_FORMAT", "loud"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_curb"))
            .arg("serve")
            .current_dir(dir.path())
            .env("CURB_RAY", "http://127.0.0.1:1")
            .env(variable, value)
            .output()
            .expect("curb runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{variable}: {told}");
        assert!(told.contains(variable), "{told}");
    }
}

#[test]
fn a_negative_amount_is_told_as_an_amount_and_not_as_an_unknown_flag() {
    let dir = here();
    for flag in ["--cpu", "--gpu", "--memory"] {
        let ran = curb(&dir, &["explain", flag, "-1"]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{flag}");
        assert!(ran.err.contains("`-1` is negative"), "{flag}: {}", ran.err);
    }
}
