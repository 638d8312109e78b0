//! Where output goes, and how the server is reached.

use std::io::{IsTerminal, Read, Write};
use std::path::Path;

use curb_api::client::{Client, ClientConfig, TokenText};
use curb_core::time::Timestamp;
use serde::Serialize;

use crate::args::Remote;
use crate::exit::Exit;
use crate::fail::Failure;
use crate::term::{Ink, View, clean_text, json_for_terminal, sink_filter};

/// What a command works with.
pub struct Ctx {
    /// How to render for stdout.
    pub view: View,
    /// Whether stdout is a terminal.
    pub terminal: bool,
    err_view: View,
}

impl Ctx {
    pub fn new() -> Ctx {
        let out = std::io::stdout();
        let err = std::io::stderr();
        let terminal = out.is_terminal();
        let now = Timestamp(jiff::Timestamp::now().as_millisecond());
        let width = terminal.then(terminal_width);
        let color = colored(anstream::AutoStream::choice(&out));
        let err_color = colored(anstream::AutoStream::choice(&err));
        let view = View {
            width,
            color,
            now,
            zone: None,
        };
        let err_view = View {
            color: err_color,
            ..view.clone()
        };
        Ctx {
            view,
            terminal,
            err_view,
        }
    }

    /// Text for stdout.
    pub fn print(&mut self, text: &str) -> Result<(), Failure> {
        self.raw(sink_filter(text).as_bytes())
    }

    /// Bytes for stdout, as they are: only what this program made itself, or what nobody looks at.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes)?;
        Ok(out.flush()?)
    }

    /// A value for programs.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(|error| {
            Failure::new(
                Exit::Other,
                format!("cannot write the answer as JSON: {error}"),
            )
        })?;
        let text = if self.terminal {
            json_for_terminal(&text)
        } else {
            text
        };
        self.raw(format!("{text}\n").as_bytes())
    }

    /// A part of a job's log for stderr, as it is: lines are not ended for it.
    pub fn log_aside(&mut self, shown: &str) {
        let mut err = std::io::stderr().lock();
        let _nobody_reads = err.write_all(shown.as_bytes());
        let _nobody_reads = err.flush();
    }

    /// Talk: a line or more for stderr. That it cannot be written stops nothing.
    pub fn say(&mut self, text: &str) {
        let text = sink_filter(text);
        let _nobody_reads = writeln!(std::io::stderr().lock(), "{}", text.trim_end_matches('\n'));
    }

    /// Talk in a colour.
    pub fn say_in(&mut self, ink: Ink, text: &str) {
        let text = self.err_view.ink(ink, &clean_text(text));
        self.say(&text);
    }

    /// Tells why the command failed.
    pub fn complain(&mut self, failure: &Failure) {
        if failure.silent {
            return;
        }
        let head = self.err_view.ink(Ink::Red, "error:");
        self.say(&format!("{head} {}", clean_text(&failure.message)));
        if let Some(help) = &failure.help {
            let head = self.err_view.ink(Ink::Bold, "help:");
            self.say(&format!("{head} {}", clean_text(help)));
        }
    }

    /// A client of the server that the command line, or the environment, names.
    pub fn client(&self, remote: &Remote) -> Result<Client, Failure> {
        Ok(Client::new(ClientConfig::new(
            &remote.address(),
            token(remote)?,
        ))?)
    }
}

/// The token: of the file that is named, else of `CURB_TOKEN`.
pub fn token(remote: &Remote) -> Result<Option<TokenText>, Failure> {
    if let Some(path) = remote.token_file() {
        let text = read_file(&path, "the token file")?;
        if text.trim().is_empty() {
            let path = path.display();
            return Err(Failure::local(format!("the token file {path} is empty"))
                .help("it holds what `curb token create` printed, and nothing else"));
        }
        return Ok(Some(TokenText::new(&text)));
    }
    Ok(std::env::var("CURB_TOKEN")
        .ok()
        .filter(|t| !t.trim().is_empty())
        .map(|t| TokenText::new(&t)))
}

/// The largest local file that is read whole, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// A local text file, bounded; `-` is what comes on stdin.
pub fn read_file(path: &Path, what: &str) -> Result<String, Failure> {
    if path.as_os_str() == "-" {
        return read_stdin(what);
    }
    let fail =
        |why: String| Failure::local(format!("cannot read {what} {}: {why}", path.display()));
    let file = std::fs::File::open(path).map_err(|e| fail(e.to_string()))?;
    bounded(file).map_err(fail)
}

/// All of it, unless it is too much: a device or a pipe says no size, and may have no end.
fn bounded(from: impl Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    from.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| e.to_string())?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("it has more than {MAX_FILE} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}

fn read_stdin(what: &str) -> Result<String, Failure> {
    let fail = |why: String| Failure::local(format!("cannot read {what} on stdin: {why}"));
    bounded(std::io::stdin().lock()).map_err(fail)
}

/// Runs asynchronous work to its end, on this thread.
pub fn block<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::local(format!("cannot start the event loop: {error}")))?
        .block_on(work)
}

fn terminal_width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    columns
        .or_else(|| terminal_size::terminal_size().map(|(w, _)| usize::from(w.0)))
        .unwrap_or(80)
}

fn colored(choice: anstream::ColorChoice) -> bool {
    !matches!(choice, anstream::ColorChoice::Never)
}
