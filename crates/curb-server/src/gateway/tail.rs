//! `GET /api/jobs/{id}/logs/tail`: while a job waits, what it waits for; then its own output, as it comes.

use curb_api::Kind;
use std::sync::Arc;
use std::time::Duration;

use curb_core::decide::told_of_exceedances;
use curb_core::ledger::{Job, Phase};
use curb_core::subject::JobId;
use curb_core::time::Timestamp;
use curb_ray::TailFrame;
use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::logs::{Source, source};
use super::{Call, Found, may_see};
use crate::app::{App, TailPermit};
use crate::auth::Principal;
use crate::reply::{Failure, OutBody, Reply};
use crate::{view, words};

/// A waiting job's line is said again after this time, changed or not: who watches sees that it is alive.
const SAY_AGAIN: Duration = Duration::from_secs(30);
/// At most one line in this time.
const SAY_NO_SOONER: Duration = Duration::from_secs(1);
/// How often a silent client is probed.
const PING: Duration = Duration::from_secs(20);
/// After how long without any answer it is given up.
const SILENCE: Duration = Duration::from_secs(65);
/// How often it is checked that the token is still good.
const CHECK_TOKEN: Duration = Duration::from_secs(4);
/// How long a frame may take to be taken.
const SEND_WITHIN: Duration = Duration::from_secs(30);
/// Clients have nothing to say on a log.
const MAX_FROM_CLIENT: usize = 64 << 10;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Begins to follow a log.
pub async fn tail(call: Call, mut request: Request<Incoming>) -> Result<Reply, Failure> {
    let id = call.job_id()?;
    let refused = match call.found().await? {
        Found::Job(_) => None,
        Found::Refused(refused) => Some(refused),
    };
    let headers = request.headers();
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|k| k.len() == 24);
    let version = headers
        .get(SEC_WEBSOCKET_VERSION)
        .is_some_and(|v| v == "13");
    let Some(key) = key.filter(|_| version) else {
        return Err(Failure::bad_request(
            "curb: the websocket handshake needs Sec-WebSocket-Key and version 13",
        ));
    };
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|e| Failure::internal(&e))?;
    let limits = &call.app.config.limits;
    let permit = call
        .app
        .tails
        .acquire(call.who.user(), limits.tails_per_user, limits.tails_total)
        .ok_or_else(|| too_many_tails(limits.tails_per_user))?;
    let upgrade = curb_http::upgrade::on(&mut request);
    let tracker = call.app.tasks.clone();
    tracker.spawn(async move {
        let Some(upgraded) = upgrade.await else {
            return;
        };
        let bounds = WebSocketConfig::default()
            .max_message_size(Some(MAX_FROM_CLIENT))
            .max_frame_size(Some(MAX_FROM_CLIENT));
        let socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(bounds))
                .await;
        let mut follow = Follow {
            app: call.app,
            who: call.who,
            headers: call.headers,
            id,
            socket,
            heard: Instant::now(),
            _permit: permit,
        };
        let code = match refused {
            Some(job) => follow.say(job.job.text).await.map(|()| CloseCode::Normal),
            None => follow.run().await,
        };
        follow.close(code.unwrap_or(CloseCode::Away)).await;
    });
    let mut reply = Response::new(OutBody::Whole(Full::new(Bytes::new())));
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = reply.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(reply)
}

pub(crate) fn too_many_tails(most: usize) -> Failure {
    let mut failure = Failure::new(
        StatusCode::TOO_MANY_REQUESTS,
        Kind::TooManyTails,
        format!("curb: too many logs are followed at once (at most {most} by one user)"),
        "close one, or read the log without following it",
    );
    failure.retry_after = Some(10);
    failure
}

/// The client is gone, or must go.
struct Gone;

struct Follow {
    app: Arc<App>,
    who: Principal,
    headers: http::HeaderMap,
    id: JobId,
    socket: Socket,
    heard: Instant,
    _permit: TailPermit,
}

/// What a job's watcher has to know.
struct Seen {
    job: Job,
    wait: Option<words::Wait>,
    now: Timestamp,
}

impl Follow {
    async fn run(&mut self) -> Result<CloseCode, Gone> {
        let mut waited = false;
        let mut last = (String::new(), Instant::now());
        let mut changed = self.app.engine.changed();
        loop {
            changed.mark_unchanged();
            let Some(seen) = self.look().await? else {
                self.say("curb: the job is not there any more\n".to_owned())
                    .await?;
                return Ok(CloseCode::Normal);
            };
            let line = match source(&seen.job) {
                Source::Curb(text) => {
                    self.say(text).await?;
                    return Ok(CloseCode::Normal);
                }
                Source::Ray { cluster, ray_id } => {
                    if waited {
                        let since = seen.job.grant().map_or(seen.now, |g| g.since);
                        let waited = since.since(seen.job.submitted);
                        self.say(format!("curb: admitted after {waited}\n")).await?;
                    }
                    return self.pass_on(&cluster, &ray_id).await;
                }
                Source::Later => match seen.wait {
                    Some(wait) => wait.line(&self.app, &self.who).await,
                    None => "curb: it is being given to Ray".to_owned(),
                },
            };
            if matches!(seen.job.phase, Phase::Queued) {
                waited = true;
            }
            // A job that is only just being started needs no line; one that waits is told at once.
            if waited && (line != last.0 || last.1.elapsed() >= SAY_AGAIN) {
                self.say(format!("{line}\n")).await?;
                last = (line, Instant::now());
            }
            self.wait(&mut changed, last.1 + SAY_AGAIN).await?;
        }
    }

    async fn look(&mut self) -> Result<Option<Seen>, Gone> {
        let (id, who) = (self.id.clone(), self.who.clone());
        // News of the moment; how the job ended is asked for again by who wants to know.
        let look = self.app.engine.read(move |state, moment| {
            let job = state
                .job(&id)
                .filter(|j| may_see(state.policy(), &who, j))?
                .clone();
            let wait = words::Wait::of(state, moment, &id);
            Some(Seen {
                job,
                wait,
                now: moment.now,
            })
        });
        look.await.map_err(|_| Gone)
    }

    /// Waits until something may have changed, minding the client.
    async fn wait(
        &mut self,
        changed: &mut tokio::sync::watch::Receiver<u64>,
        until: Instant,
    ) -> Result<(), Gone> {
        self.mind(tokio::time::sleep(SAY_NO_SOONER)).await?;
        let news = async {
            tokio::select! {
                // The sender lives as long as the engine: when it is gone the server stops.
                _ = changed.changed() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        };
        self.mind(news).await
    }

    /// Waits for something, answering the client's pings, probing it, and checking that its token is still good.
    async fn mind(&mut self, news: impl Future<Output = ()>) -> Result<(), Gone> {
        let stopping = self.app.stopping.clone();
        tokio::pin!(news);
        let mut probe = tokio::time::interval_at(Instant::now() + PING, PING);
        let mut check = tokio::time::interval_at(Instant::now() + CHECK_TOKEN, CHECK_TOKEN);
        loop {
            tokio::select! {
                () = &mut news => return Ok(()),
                () = stopping.cancelled() => return Err(Gone),
                heard = self.socket.next() => self.hear(heard)?,
                _ = check.tick() => self.check_token()?,
                _ = probe.tick() => self.probe().await?,
            }
        }
    }

    fn hear(
        &mut self,
        heard: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>,
    ) -> Result<(), Gone> {
        self.heard = Instant::now();
        match heard {
            // Nothing that a client says on a log means anything.
            Some(Ok(Message::Close(_))) | Some(Err(_)) | None => Err(Gone),
            Some(Ok(_)) => Ok(()),
        }
    }

    fn check_token(&self) -> Result<(), Gone> {
        let good = self
            .app
            .engine
            .tokens()
            .authenticate(&self.headers, self.app.clock.now());
        good.map(drop).map_err(|_| Gone)
    }

    async fn probe(&mut self) -> Result<(), Gone> {
        if self.heard.elapsed() > SILENCE {
            return Err(Gone);
        }
        self.send(Message::Ping(Bytes::new())).await
    }

    async fn say(&mut self, text: String) -> Result<(), Gone> {
        self.send(Message::Text(text.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Gone> {
        match tokio::time::timeout(SEND_WITHIN, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }

    /// Ray's own tail, frame by frame: nothing is read ahead of the client.
    async fn pass_on(&mut self, cluster: &str, ray_id: &str) -> Result<CloseCode, Gone> {
        let Some(cluster) = self.app.cluster(cluster).cloned() else {
            self.say("curb: the job's cluster is not configured any more\n".to_owned())
                .await?;
            return Ok(CloseCode::Normal);
        };
        let mut theirs = match cluster.ray.tail(ray_id).await {
            Ok(tail) => tail,
            Err(error) => {
                tracing::info!(job = %self.id, %error, "a log could not be followed");
                self.say("curb: Ray does not give the log at the moment; the job itself is not affected\n".to_owned()).await?;
                return Ok(CloseCode::Error);
            }
        };
        let stopping = self.app.stopping.clone();
        let mut line_open = false;
        let mut steps = self.app.steps.subscribe();
        // What happened before somebody looked is told as well.
        steps.mark_changed();
        let mut told = String::new();
        let mut check = tokio::time::interval_at(Instant::now() + CHECK_TOKEN, CHECK_TOKEN);
        let mut probe = tokio::time::interval_at(Instant::now() + PING, PING);
        loop {
            tokio::select! {
                frame = theirs.next() => match frame {
                    Some(Ok(TailFrame::Text(text))) => {
                        line_open = !text.ends_with('\n');
                        self.say(text).await?;
                    }
                    Some(Ok(TailFrame::End { .. })) | None => {
                        // The monitor learns of the end before the client asks for it.
                        cluster.poke.notify_one();
                        self.say_who_stopped(line_open).await?;
                        return Ok(CloseCode::Normal);
                    }
                    Some(Err(error)) => {
                        tracing::info!(job = %self.id, %error, "a followed log broke off");
                        self.say("curb: the log broke off; the job itself is not affected\n".to_owned()).await?;
                        return Ok(CloseCode::Error);
                    }
                },
                Ok(()) = steps.changed() => {
                    if self.say_of_exceedances(line_open, &mut told).await? {
                        line_open = false;
                    }
                }
                () = stopping.cancelled() => return Err(Gone),
                heard = self.socket.next() => self.hear(heard)?,
                _ = check.tick() => self.check_token()?,
                _ = probe.tick() => self.probe().await?,
            }
        }
    }

    /// A warning, in the log where the job's owner is looking. `true`: something was said.
    async fn say_of_exceedances(
        &mut self,
        line_open: bool,
        before: &mut String,
    ) -> Result<bool, Gone> {
        let (id, who) = (self.id.clone(), self.who.clone());
        let look = self.app.engine.read(move |state, moment| {
            let job = state
                .job(&id)
                .filter(|j| may_see(state.policy(), &who, j))?;
            let warned = job.exceedances.iter().any(|e| e.step.is_some());
            let key = format!(
                "{:?}",
                job.exceedances.iter().map(|e| &e.step).collect::<Vec<_>>()
            );
            let told = told_of_exceedances(job, state.policy(), moment.now)?;
            warned.then_some((key, told))
        });
        let Some((key, told)) = look.await.map_err(|_| Gone)? else {
            return Ok(false);
        };
        if key == *before {
            return Ok(false);
        }
        *before = key;
        let break_first = if line_open { "\n" } else { "" };
        self.say(format!("{break_first}curb: warning: {told}\n"))
            .await?;
        Ok(true)
    }

    /// Ray's log of a job that was stopped does not say by whom; this line behind it does.
    async fn say_who_stopped(&mut self, line_open: bool) -> Result<(), Gone> {
        let Some(seen) = self.look().await? else {
            return Ok(());
        };
        let told = view::stopped(&seen.job).or_else(|| view::stopping(&seen.job));
        match told {
            Some(told) => {
                let break_first = if line_open { "\n" } else { "" };
                self.say(format!("{break_first}curb: {told}\n")).await
            }
            None => Ok(()),
        }
    }

    async fn close(&mut self, code: CloseCode) {
        let frame = CloseFrame {
            code,
            reason: "".into(),
        };
        let end = async {
            self.socket.send(Message::Close(Some(frame))).await?;
            // The client's own close frame ends it; what else it sends is dropped.
            while let Some(Ok(_)) = self.socket.next().await {}
            Ok::<_, tokio_tungstenite::tungstenite::Error>(())
        };
        // A client that does not take the end does not get it.
        let _ = tokio::time::timeout(Duration::from_secs(5), end).await;
    }
}
