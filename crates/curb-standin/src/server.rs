//! The listener and the way of one request through it.

use crate::control;
use crate::fault::Trouble;
use crate::request::Asked;
use crate::routes::{self, Call};
use crate::tail;
use crate::texts;
use crate::world::{PackageHasher, Reply, World, accepted};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

/// The largest body: Ray's own bound, 100 MiB.
const MAX_BODY: u64 = 100 << 20;

/// The world behind a lock that is held for microseconds.
pub(crate) struct Shared {
    world: Mutex<World>,
    commands: mpsc::Sender<Command>,
    cut: watch::Sender<()>,
}

impl Shared {
    pub(crate) fn new(world: World, commands: mpsc::Sender<Command>) -> Shared {
        let (cut, _) = watch::channel(());
        Shared {
            world: Mutex::new(world),
            commands,
            cut,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        // A test that panicked while looking leaves a valid world.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes when every open connection is to be cut.
    pub(crate) fn cut(&self) -> watch::Receiver<()> {
        self.cut.subscribe()
    }

    /// Asks the listener for something; false if it has ended or too much was asked before.
    pub(crate) fn command(&self, command: Command) -> bool {
        self.commands.try_send(command).is_ok()
    }
}

/// What can be asked of the listener.
pub(crate) enum Command {
    /// Close everything, refuse connections for so long; the answer comes once it is closed.
    Refuse(Duration, std::sync::mpsc::SyncSender<()>),
}

/// Serves until the sender of `stop` says so or goes away.
pub(crate) async fn run(
    listener: TcpListener,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    mut stop: watch::Receiver<()>,
) -> io::Result<()> {
    tokio::select! {
        result = listen(listener, shared, commands) => result,
        _stop = stop.changed() => Ok(()),
    }
}

async fn listen(
    mut listener: TcpListener,
    shared: Arc<Shared>,
    mut commands: mpsc::Receiver<Command>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    loop {
        tokio::select! {
            Some(Command::Refuse(pause, closed)) = commands.recv() => {
                drop(listener);
                shared.cut.send_replace(());
                let _nobody_waits = closed.try_send(());
                tokio::time::sleep(pause).await;
                listener = bind_again(address).await?;
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(serve(stream, shared.clone(), shared.cut()));
                }
                // Out of descriptors: give others a moment to close theirs.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            },
        }
    }
}

async fn bind_again(address: SocketAddr) -> io::Result<TcpListener> {
    for _ in 0..50 {
        if let Ok(listener) = TcpListener::bind(address).await {
            return Ok(listener);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    TcpListener::bind(address).await
}

async fn serve(stream: TcpStream, shared: Arc<Shared>, mut cut: watch::Receiver<()>) {
    let _best_effort = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(request, shared.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(300))
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        _ended = connection => {}
        _cut = cut.changed() => {}
    }
}

async fn answer(
    mut request: Request<Incoming>,
    shared: Arc<Shared>,
) -> io::Result<Response<ReplyBody>> {
    if request.uri().path().starts_with("/standin/") {
        return control::answer(request, &shared).await.map(respond);
    }
    let uri = request.uri().clone();
    let call = {
        let mut world = shared.lock();
        world.requests.came(request.method().as_str(), uri.path());
        let guarded = routes::guard(
            request.method(),
            request.headers(),
            world.options.token.as_deref(),
        );
        match guarded.and_then(|()| routes::find(request.method(), uri.path())) {
            Ok(call) => call,
            Err(reply) => return Ok(respond(reply)),
        }
    };
    if let Call::Tail(id) = call {
        if let Some(reply) = in_trouble(&shared, &call, &Bytes::new()).await? {
            return Ok(respond_with(reply));
        }
        return Ok(tail::answer(&mut request, &shared, id));
    }
    let body = match call {
        Call::Submit => read_body(request.into_body()).await,
        Call::PutPackage(protocol, name) => {
            return put_package(request.into_body(), &shared, &call, protocol, name).await;
        }
        _ => Ok(Bytes::new()), // hyper reads and drops what else may come
    };
    let body = match body {
        Ok(body) => body,
        Err(reply) => return Ok(respond(reply)),
    };
    if let Some(reply) = in_trouble(&shared, &call, &body).await? {
        return Ok(respond_with(reply));
    }
    if matches!(call, Call::Submit) {
        let latency = shared.lock().options.submit_latency;
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
    }
    if matches!(call, Call::List) {
        let records = shared.lock().records();
        return Ok(respond_in_pieces(records));
    }
    Ok(respond(perform(&mut shared.lock(), &call, &body)))
}

/// Does what a call asks for.
fn perform(world: &mut World, call: &Call<'_>, body: &Bytes) -> Reply {
    match *call {
        Call::Submit => world.submit(body),
        Call::List => world.list(),
        Call::Get(id) => world.get(id),
        Call::Delete(id) => world.delete(id),
        Call::Stop(id) => world.stop(id),
        Call::Logs(id) => world.logs(id),
        Call::HasPackage(protocol, _) | Call::PutPackage(protocol, _) if protocol != "gcs" => {
            Reply::text(500, texts::TROUBLE)
        }
        Call::HasPackage(protocol, name) => match world.package(name) {
            Some(_) => Reply::text(200, ""),
            None => Reply::text(404, texts::no_such_package(protocol, name)),
        },
        Call::PutPackage(..) | Call::Tail(_) => Reply::text(200, ""), // done where their bodies are
        Call::Version => world.version(),
        Call::Nodes => world.nodes(),
    }
}

/// The incarnation that a request was on its way to.
struct SentTo(Arc<str>);

impl SentTo {
    fn of(world: &World) -> SentTo {
        SentTo(world.session().into())
    }

    /// Whether it can still arrive.
    fn is_there(&self, world: &World) -> bool {
        !world.options.restart_cuts || *self.0 == *world.session()
    }
}

/// A reply, whole or broken off in the middle.
struct Outcome {
    reply: Reply,
    half: bool,
}

/// Plays the next fault of the script, if one waits for this call. An error closes the connection.
async fn in_trouble(
    shared: &Arc<Shared>,
    call: &Call<'_>,
    body: &Bytes,
) -> io::Result<Option<Outcome>> {
    let (trouble, sent_to) = {
        let mut world = shared.lock();
        if world.script.is_empty() {
            return Ok(None);
        }
        let sent_to = SentTo::of(&world);
        let (route, id) = call.fault_key();
        let asked = if matches!(call, Call::Submit) {
            Asked::check(body).ok().and_then(|a| a.submission_id)
        } else {
            None
        };
        let trouble = world.script.next(route, asked.as_deref().unwrap_or(id));
        (trouble, sent_to)
    };
    let Some(trouble) = trouble else {
        return Ok(None);
    };
    let perform = || perform(&mut shared.lock(), call, body);
    let whole = |reply| Ok(Some(Outcome { reply, half: false }));
    match trouble {
        Trouble::Answer { status } => whole(Reply::text(status, broken())),
        Trouble::AnswerAfter { status } => {
            perform();
            whole(Reply::text(status, broken()))
        }
        Trouble::DropBefore => Err(dropped()),
        Trouble::DropAfter => {
            perform();
            Err(dropped())
        }
        Trouble::HalfAnswer => Ok(Some(Outcome {
            reply: perform(),
            half: true,
        })),
        Trouble::HangBefore => std::future::pending().await,
        Trouble::HangAfter => {
            perform();
            std::future::pending().await
        }
        Trouble::Delay { ms } => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            if !sent_to.is_there(&shared.lock()) {
                return Err(dropped());
            }
            whole(perform())
        }
        Trouble::LateCopy { ms } => {
            let reply = perform();
            deliver_later(shared, call, body, ms, sent_to);
            whole(reply)
        }
        Trouble::LandLater { ms } => {
            deliver_later(shared, call, body, ms, sent_to);
            Err(dropped())
        }
        Trouble::WrongId => {
            perform();
            whole(accepted("somebody-else"))
        }
    }
}

/// Delivers a submission (nothing else changes a world twice) after `ms`.
fn deliver_later(shared: &Arc<Shared>, call: &Call<'_>, body: &Bytes, ms: u64, sent_to: SentTo) {
    if matches!(call, Call::Submit) {
        let (shared, body) = (shared.clone(), body.clone());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            let mut world = shared.lock();
            if sent_to.is_there(&world) {
                let _nobody_reads = world.submit(&body);
            }
        });
    }
}

fn broken() -> &'static str {
    "Traceback (most recent call last):\n  File \"ray/dashboard/modules/job/job_head.py\", line 419, in submit_job\nRuntimeError: the stand-in was told to fail\n"
}

fn dropped() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "the stand-in was told to drop this connection",
    )
}

async fn put_package(
    body: Incoming,
    shared: &Arc<Shared>,
    call: &Call<'_>,
    protocol: &str,
    name: &str,
) -> io::Result<Response<ReplyBody>> {
    let mut hasher = PackageHasher::default();
    let fed = feed(body, |piece| hasher.feed(piece)).await;
    if let Err(reply) = fed {
        return Ok(respond(reply));
    }
    if let Some(outcome) = in_trouble(shared, call, &Bytes::new()).await? {
        return Ok(respond_with(outcome));
    }
    if protocol != "gcs" {
        return Ok(respond(Reply::text(
            500,
            texts::type_error("upload_package_to_gcs should not be called with a remote path."),
        )));
    }
    shared.lock().put_package(name, hasher.finish());
    Ok(respond(Reply::text(200, "")))
}

/// Reads a body into memory, within Ray's bound.
pub(crate) async fn read_body(body: Incoming) -> Result<Bytes, Reply> {
    let mut first: Option<Bytes> = None;
    let mut more = BytesMut::new();
    let mut body = std::pin::pin!(body);
    let mut read = 0u64;
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame
            .map_err(|_| Reply::text(400, "the body ended early"))?
            .into_data()
        else {
            continue;
        };
        read += piece.len() as u64;
        if read > MAX_BODY {
            return Err(too_large());
        }
        match first {
            None => first = Some(piece),
            Some(_) => more.extend_from_slice(&piece),
        }
    }
    let first = first.unwrap_or_default();
    Ok(if more.is_empty() {
        first
    } else {
        [first.as_ref(), more.as_ref()].concat().into()
    })
}

async fn feed(body: Incoming, mut take: impl FnMut(&[u8])) -> Result<(), Reply> {
    let mut body = std::pin::pin!(body);
    let mut read = 0u64;
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame
            .map_err(|_| Reply::text(400, "the body ended early"))?
            .into_data()
        else {
            continue;
        };
        read += piece.len() as u64;
        if read > MAX_BODY {
            return Err(too_large());
        }
        take(&piece);
    }
    Ok(())
}

fn too_large() -> Reply {
    Reply::text(
        413,
        format!("Maximum request body size {MAX_BODY} exceeded."),
    )
}

/// A reply as HTTP.
pub(crate) fn respond(reply: Reply) -> Response<ReplyBody> {
    respond_with(Outcome { reply, half: false })
}

fn respond_with(outcome: Outcome) -> Response<ReplyBody> {
    let Outcome { reply, half } = outcome;
    let kind = if reply.json {
        "application/json; charset=utf-8"
    } else {
        "text/plain; charset=utf-8"
    };
    let empty = reply.body.is_empty();
    let mut response = Response::new(ReplyBody {
        length: reply.body.len(),
        data: Some(reply.body).filter(|b| !b.is_empty()),
        half,
        records: None,
    });
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if !empty {
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    response
}

/// A list of records as HTTP. It is put together while it is sent, so that others are served meanwhile.
fn respond_in_pieces(records: Vec<Bytes>) -> Response<ReplyBody> {
    let commas = records.len().saturating_sub(1);
    let length = 2 + commas + records.iter().map(Bytes::len).sum::<usize>();
    let mut response = Response::new(ReplyBody {
        length,
        data: Some(Bytes::from_static(b"[")),
        half: false,
        records: Some(records.into_iter()),
    });
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// The next piece of a list, with what ends it behind the last.
fn next_piece(records: &mut Option<std::vec::IntoIter<Bytes>>) -> Option<Bytes> {
    let left = records.as_mut()?;
    let mut piece = Vec::with_capacity(PIECE + 4096);
    while piece.len() < PIECE {
        let Some(record) = left.next() else {
            piece.push(b']');
            *records = None;
            break;
        };
        piece.extend_from_slice(&record);
        if left.len() > 0 {
            piece.push(b',');
        }
    }
    Some(piece.into())
}

/// About how long a piece of a list is.
const PIECE: usize = 64 << 10;

/// A whole body, one that breaks off in the middle, or a list of records.
pub(crate) struct ReplyBody {
    length: usize,
    data: Option<Bytes>,
    half: bool,
    records: Option<std::vec::IntoIter<Bytes>>,
}

impl ReplyBody {
    pub(crate) fn empty() -> ReplyBody {
        ReplyBody {
            length: 0,
            data: None,
            half: false,
            records: None,
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(match (self.data.take(), self.half) {
            (Some(data), false) => Some(Ok(Frame::data(data))),
            (Some(data), true) => Some(Ok(Frame::data(data.slice(..data.len() / 2)))),
            (None, false) => next_piece(&mut self.records).map(|piece| Ok(Frame::data(piece))),
            (None, true) => Some(Err(dropped())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.records.is_none() && !self.half
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length as u64)
    }
}
