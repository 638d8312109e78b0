//! Committed files that the code makes are the ones it makes today. `CURB_WRITE_GENERATED=1` writes them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use curb_cli::{cmd::docs, exit};

fn docs_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn fresh(made: &BTreeMap<PathBuf, Vec<u8>>) {
    let write = std::env::var_os("CURB_WRITE_GENERATED").is_some();
    for (path, content) in made {
        let path = docs_dir().join(path);
        if write {
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            std::fs::write(&path, content).expect("written");
        }
        let committed = std::fs::read(&path).unwrap_or_default();
        assert!(
            &committed == content,
            "{} is old: run the tests of curb-cli with CURB_WRITE_GENERATED=1",
            path.display()
        );
    }
}

/// Nothing lies there that the code does not make any more.
fn nothing_else(dir: &str, made: &BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(docs_dir().join(dir)).expect("the directory") {
        let name = entry.expect("an entry").file_name();
        assert!(
            made.contains_key(&Path::new(dir).join(&name)),
            "docs/{dir}/{} is not made by anything",
            name.display()
        );
    }
}

#[test]
fn man_pages_are_fresh() {
    let pages = docs::man_pages().expect("pages");
    let made: BTreeMap<_, _> = pages
        .into_iter()
        .map(|(name, page)| (Path::new("man").join(name), page))
        .collect();
    assert!(made.len() > 30);
    fresh(&made);
    nothing_else("man", &made);
}

#[test]
fn completions_are_fresh() {
    let made = docs::SHELLS
        .iter()
        .map(|(shell, name)| {
            (
                Path::new("completions").join(name),
                docs::completion(*shell),
            )
        })
        .collect();
    fresh(&made);
    nothing_else("completions", &made);
}

#[test]
fn the_page_of_exit_codes_is_fresh() {
    fresh(&[("exit-codes.md".into(), exit::markdown().into_bytes())].into());
}

#[test]
fn the_page_of_the_audit_is_fresh() {
    let page = curb_core::host::audit::page();
    fresh(&[("audit.md".into(), page.into_bytes())].into());
}
