//! `curb top`

mod screen;

use std::path::Path;
use std::time::{Duration, Instant};

use curb_core::host::audit::Machine;
use curb_core::host::top::{Board, Sort};
use curb_core::time::{Millis, Timestamp};
use curb_host::effective::workloads;

use crate::args::TopArgs;
use crate::ctx::Ctx;
use crate::exit::Exit;
use crate::fail::{Done, Failure};
use crate::show::top::{self as show, Screen};
use crate::term::View;

/// Without a terminal two looks are so far apart: CPU time is counted in hundredths of a second.
const BETWEEN: Duration = Duration::from_millis(500);

/// `curb top`
pub fn run(args: &TopArgs, ctx: &mut Ctx) -> Done {
    let mut watch = Watch::new(args);
    if ctx.terminal && !args.once && !args.json {
        return screen::run(
            &mut watch,
            Duration::from_millis(args.interval.0),
            &ctx.view,
        );
    }
    watch.look()?;
    std::thread::sleep(BETWEEN);
    watch.look()?;
    let view = View {
        now: now(),
        ..ctx.view.clone()
    };
    if args.json {
        ctx.json(&show::json(&watch.screen(), view.now))?;
        return Ok(Exit::Ok);
    }
    let mut lines = show::lines(&watch.screen(), &view, usize::MAX);
    // The last line tells keys.
    lines.pop();
    ctx.print(&format!("{}\n", lines.join("\n")))?;
    Ok(Exit::Ok)
}

/// What is watched, from look to look.
struct Watch {
    board: Board,
    machine: Machine,
    last: Option<Instant>,
    sort: Sort,
    filter: String,
    typing: bool,
    unicode: bool,
    trouble: Option<String>,
}

impl Watch {
    fn new(args: &TopArgs) -> Watch {
        Watch {
            board: Board::default(),
            machine: Machine::default(),
            last: None,
            sort: args.sort.into(),
            filter: args.filter.clone(),
            typing: false,
            unicode: is_unicode(),
            trouble: None,
        }
    }

    fn look(&mut self) -> Result<(), Failure> {
        let (readings, machine) = workloads(Path::new("/")).map_err(|error| {
            Failure::local(format!(
                "cannot look at the processes of this host: {error}"
            ))
            .help("is /proc mounted, and may this user read it?")
        })?;
        let at = Instant::now();
        let since = self.last.map(|last| at.duration_since(last).as_millis());
        let since = since.map(|ms| Millis(u64::try_from(ms).unwrap_or(u64::MAX)));
        self.board.take(now(), since, readings);
        (self.machine, self.last) = (machine, Some(at));
        Ok(())
    }

    fn screen(&self) -> Screen<'_> {
        Screen {
            board: &self.board,
            machine: self.machine,
            sort: self.sort,
            filter: &self.filter,
            typing: self.typing,
            unicode: self.unicode,
            trouble: self.trouble.as_deref(),
        }
    }
}

fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// Whether the terminal was set up for more than ASCII, by the variables that everybody goes by.
fn is_unicode() -> bool {
    let value = |name: &&str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(value);
    let locale = locale.unwrap_or_default().to_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}
