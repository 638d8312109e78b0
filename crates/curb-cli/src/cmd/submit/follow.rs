//! Following a job: Curb's lines while it waits, its log while it runs, and how it ended.

use std::time::Duration;

use curb_api::client::{Client, ClientError};
use curb_api::{JobState, JobView};
use curb_ray::{RayClient, RayError, TailFrame};
use futures_util::StreamExt;

use crate::ctx::Ctx;
use crate::exit::Exit;
use crate::fail::{Done, Failure};
use crate::show;
use crate::term::{Ink, LogFilter, LogSplitter, Piece, clean_line, clean_text};

/// After a log has ended, the job's end is looked for this often, longer each time.
const FIRST_LOOK: Duration = Duration::from_millis(200);
const SLOWEST_LOOK: Duration = Duration::from_secs(5);
/// So many failures in a row, and following is given up. The job goes on.
const PATIENCE: u32 = 12;

/// A job to follow to its end.
pub struct Follow<'a> {
    pub client: &'a Client,
    pub ray: &'a RayClient,
    pub id: &'a str,
    pub json: bool,
}

impl Follow<'_> {
    /// Until the job is over, or Ctrl-C.
    pub async fn run(&self, ctx: &mut Ctx) -> Done {
        let interrupted = async {
            // Without a handler Ctrl-C ends the process, which is the same for the job.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let outcome = {
            let followed = self.to_the_end(ctx);
            tokio::select! {
                biased;
                () = interrupted => None,
                job = followed => Some(job),
            }
        };
        match outcome {
            None => {
                let id = self.id;
                ctx.say(&format!(
                    "\nnot followed any more; job {id} goes on. Stop it: curb jobs stop {id}"
                ));
                Ok(Exit::Interrupted)
            }
            Some(ended) => {
                let (job, logged) = ended?;
                self.tell(&job, logged, ctx)
            }
        }
    }

    /// The job when it was over, and whether anything of its log was shown.
    async fn to_the_end(&self, ctx: &mut Ctx) -> Result<(JobView, bool), Failure> {
        let mut log = Log {
            to_stderr: self.json,
            ..Log::default()
        };
        let (mut failures, mut pause) = (0, FIRST_LOOK);
        loop {
            let before = log.shown;
            let broken = self.tail(&mut log, ctx).await?;
            let news = log.shown > before;
            let looked = match broken {
                Some(error) if !news => Err(error),
                _ => match self.client.job(self.id).await {
                    Ok(job) if job.state.is_ended() => return Ok((job, log.shown > 0)),
                    Ok(_) => Ok(()),
                    Err(error) if passes(&error) => Err(error.into()),
                    Err(error) => return Err(error.into()),
                },
            };
            match looked {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    if failures > PATIENCE {
                        let id = self.id;
                        return Err(
                            error.help(format!("the job may still go on: curb jobs show {id}"))
                        );
                    }
                    if failures == 1 {
                        ctx.say("curb: the connection is lost; trying again (the job goes on)");
                    }
                }
            }
            pause = if news {
                FIRST_LOOK
            } else {
                (pause * 2).min(SLOWEST_LOOK)
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Shows the log until the stream ends; gives what broke it, if that may pass.
    async fn tail(&self, log: &mut Log, ctx: &mut Ctx) -> Result<Option<Failure>, Failure> {
        let mut tail = match self.ray.tail(self.id).await {
            Ok(tail) => tail,
            Err(error) => return lost(error),
        };
        log.begin();
        while let Some(frame) = tail.next().await {
            match frame {
                Ok(TailFrame::Text(text)) => log.show(&text, ctx)?,
                Ok(TailFrame::End { .. }) => break,
                Err(error) => return lost(error),
            }
        }
        log.end(ctx)?;
        Ok(None)
    }

    fn tell(&self, job: &JobView, logged: bool, ctx: &mut Ctx) -> Done {
        if self.json {
            ctx.json(job)?;
        }
        let took = match (job.started, job.ended) {
            (Some(from), Some(to)) => format!(" after {}", to.since(from)),
            _ => String::new(),
        };
        let code = job
            .exit_code
            .map(|c| format!(", exit code {c}"))
            .unwrap_or_default();
        let head = format!("job {} {}{took}{code}", self.id, job.state);
        if job.state == JobState::Succeeded {
            ctx.say_in(Ink::Green, &head);
            return Ok(Exit::Ok);
        }
        ctx.say_in(Ink::Red, &head);
        // Ray repeats the end of the log in its message: it was shown already.
        let message = if logged {
            show::first_line(&job.message)
        } else {
            job.message.clone()
        };
        if !message.is_empty() {
            ctx.say(&clean_text(&message));
        }
        Ok(Exit::Failed)
    }
}

fn lost(error: RayError) -> Result<Option<Failure>, Failure> {
    match error {
        RayError::Unreachable { .. }
        | RayError::Timeout { .. }
        | RayError::Busy { .. }
        | RayError::Broken { .. }
        | RayError::Status {
            status: 429 | 500..=599,
            ..
        } => Ok(Some(error.into())),
        other => Err(other.into()),
    }
}

/// Whether trying again may help.
fn passes(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. }
        | ClientError::Timeout { .. }
        | ClientError::Broken { .. } => true,
        other => other.status().is_some_and(|s| s == 429 || s >= 500),
    }
}

/// What of the log was shown. A stream that is opened again begins at the log's beginning: what was shown is passed
/// over.
#[derive(Default)]
struct Log {
    splitter: LogSplitter,
    filter: LogFilter,
    /// Bytes of the job's own output that were shown.
    shown: u64,
    /// Of those, how many this stream has passed over.
    passed: u64,
    last_talk: String,
    to_stderr: bool,
}

impl Log {
    fn begin(&mut self) {
        self.splitter = LogSplitter::default();
        self.passed = 0;
    }

    fn show(&mut self, text: &str, ctx: &mut Ctx) -> Result<(), Failure> {
        for piece in self.splitter.push(text) {
            self.piece(piece, ctx)?;
        }
        Ok(())
    }

    fn end(&mut self, ctx: &mut Ctx) -> Result<(), Failure> {
        match self.splitter.finish() {
            Some(piece) => self.piece(piece, ctx),
            None => Ok(()),
        }
    }

    fn piece(&mut self, piece: Piece, ctx: &mut Ctx) -> Result<(), Failure> {
        match piece {
            Piece::Talk(line) => {
                if line != self.last_talk {
                    ctx.say(&clean_line(&line));
                    self.last_talk = line;
                }
                Ok(())
            }
            Piece::Output(text) => self.output(&text, ctx),
        }
    }

    fn output(&mut self, text: &str, ctx: &mut Ctx) -> Result<(), Failure> {
        let fresh = self.fresh(text);
        if self.to_stderr {
            let shown = self.filter.push(&fresh);
            ctx.log_aside(&shown);
            return Ok(());
        }
        let shown = if ctx.terminal {
            self.filter.push(&fresh)
        } else {
            fresh
        };
        ctx.raw(shown.as_bytes())
    }

    /// The part of the output that was not shown before.
    fn fresh(&mut self, text: &str) -> String {
        let known = usize::try_from(self.shown - self.passed)
            .unwrap_or(usize::MAX)
            .min(text.len());
        let known = (known..=text.len())
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(text.len());
        self.passed += text.len() as u64;
        self.shown = self.shown.max(self.passed);
        text[known..].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_begins_anew_is_shown_once() {
        let mut log = Log::default();
        assert_eq!(log.fresh("one\ntwo\n"), "one\ntwo\n");
        log.begin();
        assert_eq!(log.fresh("one\n"), "");
        assert_eq!(log.fresh("two\nthree\n"), "three\n");
        assert_eq!(log.fresh("four\n"), "four\n");
        assert_eq!(log.shown, 19);
    }
}
