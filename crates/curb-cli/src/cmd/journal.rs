//! `curb journal`

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use curb_api::{JournalPage, JournalQuery, JournalRecord};
use curb_core::time::{Millis, Timestamp};
use curb_journal::{Filter, JOURNAL_FILE, OwnedRecord, ReadError, Reader};
use serde_json::json;
use serde_json::value::RawValue;

use crate::args::{
    JournalArgs, JournalBackupArgs, JournalCommand, JournalExportArgs, JournalTailArgs,
    JournalVerifyArgs,
};
use crate::cmd::token::open_failure;
use crate::ctx::{Ctx, block};
use crate::exit::Exit;
use crate::fail::{Done, Failure};
use crate::show;
use crate::term::json_for_terminal;

/// How often a local journal is looked at for new records.
const LOOK: Duration = Duration::from_millis(200);
/// How many records are read at once.
const PAGE: usize = 1000;

/// `curb journal ...`
pub fn run(args: &JournalArgs, ctx: &mut Ctx) -> Done {
    match &args.command {
        JournalCommand::Verify(args) => verify(args, ctx),
        JournalCommand::Tail(args) => tail(args, ctx),
        JournalCommand::Export(args) => export(args, ctx),
        JournalCommand::Backup(args) => backup(args, ctx),
    }
}

fn verify(args: &JournalVerifyArgs, ctx: &mut Ctx) -> Done {
    let dir = &args.dir.data;
    let reader = Reader::open(dir).map_err(open_failure)?;
    let begun = Instant::now();
    let report = curb_journal::verify(&reader, None).map_err(|error| damaged(dir, &error))?;
    let took = Millis(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
    if args.json.json {
        ctx.json(&json!({
            "sound": report.is_sound(),
            "records": report.records,
            "bytes": report.bytes,
            "took_ms": took.0,
            "head": {"seq": report.head.seq, "hash": report.head.hash.to_hex()},
            "first_break": report.first_break.as_ref().map(|b| json!({"seq": b.seq, "what": b.kind.to_string()})),
            "breaks": report.breaks,
            "consistent_after": report.consistent_after,
            "cut_short": report.cut_short,
        }))?;
    } else {
        let text = show::verify(&report, took, &ctx.view);
        ctx.print(&text)?;
    }
    if report.is_sound() {
        return Ok(Exit::Ok);
    }
    ctx.say(
        "stop the server, keep a copy of the directory as it is, and restore the last good copy",
    );
    Ok(Exit::Journal)
}

fn damaged(dir: &Path, error: &ReadError) -> Failure {
    Failure::new(
        Exit::Journal,
        format!("cannot read the journal in {}: {error}", dir.display()),
    )
}

fn tail(args: &JournalTailArgs, ctx: &mut Ctx) -> Done {
    match &args.data {
        Some(dir) => tail_local(args, dir, ctx),
        None => tail_remote(args, ctx),
    }
}

fn tail_local(args: &JournalTailArgs, dir: &Path, ctx: &mut Ctx) -> Done {
    let reader = Reader::open(dir).map_err(open_failure)?;
    let kinds: Vec<&str> = args.kind.iter().map(String::as_str).collect();
    let filter = Filter {
        kinds: &kinds,
        since_ms: None,
    };
    let fail = |error: ReadError| damaged(dir, &error);
    head(args, ctx);
    let mut after = reader.head().map_err(fail)?.seq;
    for record in reader.last(&filter, args.lines as usize).map_err(fail)? {
        after = after.max(record.seq);
        line(&local(&record)?, args.json, ctx)?;
    }
    if !args.follow {
        return Ok(Exit::Ok);
    }
    loop {
        let records = reader.search(after, &filter, PAGE).map_err(fail)?;
        if let Some(last) = records.last() {
            after = last.seq;
        } else {
            std::thread::sleep(LOOK);
        }
        for record in &records {
            line(&local(record)?, args.json, ctx)?;
        }
    }
}

fn local(record: &OwnedRecord) -> Result<JournalRecord, Failure> {
    let text = String::from_utf8_lossy(&record.payload).into_owned();
    let event = RawValue::from_string(text).map_err(|_| {
        Failure::new(
            Exit::Journal,
            format!("record {} of the journal is not JSON", record.seq),
        )
        .help("run `curb journal verify`")
    })?;
    Ok(JournalRecord {
        seq: record.seq,
        at: Timestamp(record.at_ms),
        kind: record.kind.clone(),
        event,
        hash: record.hash.to_hex(),
    })
}

fn tail_remote(args: &JournalTailArgs, ctx: &mut Ctx) -> Done {
    let client = ctx.client(&args.remote)?;
    let ask = |query: JournalQuery| -> Result<JournalPage, Failure> {
        block(async { Ok(client.journal(&query).await?) })
    };
    head(args, ctx);
    let limit = args.lines.clamp(1, curb_api::MAX_RECORDS);
    let mut page = ask(JournalQuery {
        limit: Some(limit),
        kinds: args.kind.clone(),
        ..JournalQuery::default()
    })?;
    if args.lines == 0 {
        page.records.clear();
    }
    loop {
        for record in &page.records {
            line(record, args.json, ctx)?;
        }
        if !args.follow {
            return Ok(Exit::Ok);
        }
        let wait_s = Some(curb_api::MAX_WAIT_S);
        page = ask(JournalQuery {
            after: Some(page.next),
            limit: None,
            kinds: args.kind.clone(),
            wait_s,
        })?;
    }
}

fn head(args: &JournalTailArgs, ctx: &mut Ctx) {
    if ctx.view.width.is_some() && !args.json {
        let text = show::records_head(&ctx.view);
        ctx.say(&text);
    }
}

fn line(record: &JournalRecord, json: bool, ctx: &mut Ctx) -> Result<(), Failure> {
    if !json {
        let text = show::record_line(
            record.seq,
            record.at,
            &record.kind,
            record.event.get().as_bytes(),
            &ctx.view,
        );
        return ctx.print(&text);
    }
    let text =
        serde_json::to_string(record).map_err(|e| Failure::new(Exit::Other, e.to_string()))?;
    let text = if ctx.terminal {
        json_for_terminal(&text)
    } else {
        text
    };
    ctx.raw(format!("{text}\n").as_bytes())
}

fn export(args: &JournalExportArgs, ctx: &mut Ctx) -> Done {
    let reader = Reader::open(&args.dir.data).map_err(open_failure)?;
    match &args.out {
        None => {
            write_export(&reader, std::io::stdout().lock())?;
        }
        Some(path) => {
            let file = create_new(path)?;
            let records = write_export(&reader, &file)?;
            file.sync_all()?;
            ctx.say(&format!("wrote {records} records to {}", path.display()));
        }
    }
    // What was written is only worth something if the chain holds.
    sound(&reader)
}

/// Walks the chain, and fails where it is broken.
fn sound(reader: &Reader) -> Done {
    let dir = reader.dir();
    let report = curb_journal::verify(reader, None).map_err(|error| damaged(dir, &error))?;
    match &report.first_break {
        None => Ok(Exit::Ok),
        Some(first) => Err(Failure::new(
            Exit::Journal,
            format!("the journal in {} is DAMAGED: {first}", dir.display()),
        )
        .help("`curb journal verify` tells all of it; keep a copy of the directory as it is")),
    }
}

fn backup(args: &JournalBackupArgs, ctx: &mut Ctx) -> Done {
    let (from, to) = (&args.dir.data, &args.to);
    let reader = Reader::open(from).map_err(open_failure)?;
    let fail =
        |what: &str, why: String| Failure::local(format!("cannot {what} {}: {why}", to.display()));
    std::fs::create_dir(to).map_err(|e| {
        fail("make", e.to_string())
            .help("nothing is overwritten: name a directory that is not there")
    })?;
    reader
        .backup(&to.join(JOURNAL_FILE))
        .map_err(|error| damaged(from, &error))?;
    // After the journal: whatever a job in the copy still needs is kept for longer than this takes.
    let packages = copy_files(&from.join(PACKAGES), &to.join(PACKAGES), DEPTH)
        .map_err(|e| fail("copy packages to", e.to_string()))?;
    let copy = Reader::open(to).map_err(open_failure)?;
    let head = copy.head().map_err(|error| damaged(to, &error))?;
    if args.json.json {
        ctx.json(&json!({
            "to": to,
            "records": head.seq,
            "packages": packages,
            "head": {"seq": head.seq, "hash": head.hash.to_hex()},
        }))?;
    } else {
        ctx.say(&format!(
            "copied {} records and {packages} packages to {}",
            head.seq,
            to.display()
        ));
    }
    sound(&copy)
}

/// Where a data directory has its packages, and how deep they lie.
const PACKAGES: &str = "packages";
const DEPTH: usize = 4;

/// Copies the files below a directory, syncing each. One that goes away meanwhile was not needed any more.
fn copy_files(from: &Path, to: &Path, depth: usize) -> std::io::Result<u64> {
    let gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    let entries = match std::fs::read_dir(from) {
        Ok(entries) => entries,
        Err(error) if gone(&error) => return Ok(0),
        Err(error) => return Err(error),
    };
    std::fs::create_dir(to)?;
    let mut copied = 0;
    for entry in entries {
        let entry = entry?;
        // What is still being uploaded is nobody's package yet.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() && depth > 0 {
            copied += copy_files(&entry.path(), &target, depth - 1)?;
        } else if kind.is_file() {
            match std::fs::copy(entry.path(), &target) {
                Ok(_) => {
                    File::open(&target)?.sync_all()?;
                    copied += 1;
                }
                Err(error) if gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    File::open(to)?.sync_all()?;
    Ok(copied)
}

fn write_export(reader: &Reader, out: impl Write) -> Result<u64, Failure> {
    match curb_journal::export(reader, 0, out) {
        Ok(last) => Ok(last.seq),
        Err(ReadError::Output(error)) => Err(error.into()),
        Err(error) => Err(damaged(reader.dir(), &error)),
    }
}

/// A file that was not there: nothing is ever overwritten.
pub fn create_new(path: &Path) -> Result<File, Failure> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|error| {
            let failure = Failure::local(format!("cannot write {}: {error}", path.display()));
            if error.kind() == std::io::ErrorKind::AlreadyExists {
                return failure
                    .help("nothing is overwritten: name another file, or move this one away");
            }
            failure
        })
}
