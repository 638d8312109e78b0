//! The screen of `curb top`: the terminal is taken, and given back however this ends.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, poll, read};
use crossterm::{cursor, execute, queue, style, terminal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::{Watch, now};
use crate::exit::Exit;
use crate::fail::{Done, Failure};
use crate::show::top as show;
use crate::term::{View, sink_filter};

/// How long a signal can wait to be seen.
const PATIENCE: Duration = Duration::from_millis(100);
/// The longest filter.
const MOST_FILTER: usize = 64;

/// Shows the screen until the user or a signal ends it.
pub(super) fn run(watch: &mut Watch, interval: Duration, view: &View) -> Done {
    let fail = |error: io::Error| Failure::local(format!("cannot use the terminal: {error}"));
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGHUP, SIGINT, SIGQUIT] {
        signal_hook::flag::register(signal, Arc::clone(&ended)).map_err(fail)?;
    }
    watch.look()?;
    let taken = Taken::take().map_err(fail)?;
    let mut shown = Vec::new();
    let mut next = Instant::now() + interval;
    let outcome = loop {
        if let Err(error) = draw(watch, view, &mut shown) {
            break Err(fail(error));
        }
        match wait(watch, &mut shown, next, &ended) {
            Err(error) => break Err(fail(error)),
            Ok(Wish::End) => break Ok(Exit::Ok),
            Ok(Wish::Draw) => {}
            Ok(Wish::Look) => {
                // A look that fails is told on the screen; the next may not.
                watch.trouble = watch.look().err().map(|failure| failure.message);
                next = Instant::now() + interval;
            }
        }
    };
    drop(taken);
    outcome
}

enum Wish {
    Draw,
    Look,
    End,
}

/// The terminal, taken: raw, its other screen, no cursor.
struct Taken;

impl Taken {
    fn take() -> io::Result<Taken> {
        // Whoever panics while it is taken gives it back first, so that what is said can be read.
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
        }));
        terminal::enable_raw_mode()?;
        let taken = Taken;
        execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide)?;
        Ok(taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    // Each for itself: what fails must not keep the others from being done.
    let _ = execute!(io::stdout(), terminal::LeaveAlternateScreen, cursor::Show);
    let _ = terminal::disable_raw_mode();
}

/// Draws the lines that are not there yet.
fn draw(watch: &Watch, view: &View, shown: &mut Vec<String>) -> io::Result<()> {
    let (columns, rows) = terminal::size()?;
    let view = View {
        width: Some(usize::from(columns)),
        now: now(),
        ..view.clone()
    };
    let lines = show::lines(&watch.screen(), &view, usize::from(rows));
    let mut out = io::stdout().lock();
    for at in 0..usize::from(rows) {
        let line = lines.get(at).map_or("", String::as_str);
        if shown.get(at).map(String::as_str) == Some(line) {
            continue;
        }
        let row = u16::try_from(at).unwrap_or(u16::MAX);
        queue!(
            out,
            cursor::MoveTo(0, row),
            style::Print(sink_filter(line)),
            terminal::Clear(terminal::ClearType::UntilNewLine)
        )?;
    }
    out.flush()?;
    *shown = (0..usize::from(rows))
        .map(|at| lines.get(at).cloned().unwrap_or_default())
        .collect();
    Ok(())
}

/// Waits for a key, a signal, another size, or the next look.
fn wait(
    watch: &mut Watch,
    shown: &mut Vec<String>,
    next: Instant,
    ended: &AtomicBool,
) -> io::Result<Wish> {
    loop {
        if ended.load(Ordering::Relaxed) {
            return Ok(Wish::End);
        }
        let left = next.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Wish::Look);
        }
        match poll(left.min(PATIENCE)) {
            Ok(false) => continue,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        match read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                return Ok(press(watch, key));
            }
            Event::Resize(..) => {
                // What was there may be anywhere now.
                shown.clear();
                execute!(io::stdout(), terminal::Clear(terminal::ClearType::All))?;
                return Ok(Wish::Draw);
            }
            _ => {}
        }
    }
}

fn press(watch: &mut Watch, key: KeyEvent) -> Wish {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c' | 'd') => Wish::End,
            _ => Wish::Draw,
        };
    }
    match (watch.typing, key.code) {
        (true, KeyCode::Char(c)) if watch.filter.chars().count() < MOST_FILTER => {
            watch.filter.push(c);
        }
        (true, KeyCode::Backspace) => {
            watch.filter.pop();
        }
        (true, KeyCode::Enter) => watch.typing = false,
        (true, KeyCode::Esc) => {
            watch.typing = false;
            watch.filter.clear();
        }
        (false, KeyCode::Char('q') | KeyCode::Esc) => return Wish::End,
        (false, KeyCode::Char('s')) => watch.sort = watch.sort.next(),
        (false, KeyCode::Char('/')) => watch.typing = true,
        _ => {}
    }
    Wish::Draw
}
