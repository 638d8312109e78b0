//! The guard: sits between the socket and hyper, and hands on only bytes with one reading.
//!
//! It follows the connection by itself: head, body, next head. A head is kept back until it is
//! whole and accepted; a body is read straight into hyper's buffer and checked there, never
//! copied. At most one head is handed over a read, so hyper never holds more than one request
//! beyond the one being served.
//!
//! A refused head is answered in its place in the pipeline: hyper is given a fixed stand-in
//! request, the service in front of the real one ([`crate::listener`]) sees the verdict that
//! belongs to it and answers with the refusal, and nothing is read any more. A fault in a body is
//! a read error for whoever reads the body, and replaces the response if it has not begun.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::alarm::Alarm;
use crate::chunked::ChunkReader;
use crate::head::{Framing, Head, HeadLimits, HeadReader};
use crate::hold::Hold;
use crate::link::{Link, Verdict};
use crate::listener::Place;
use crate::violation::Violation;

/// What hyper reads in place of a refused head. The service never sees it: its verdict says so.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
/// Bytes read at once while a closed connection's rest is thrown away.
const DISCARD: usize = 16 * 1024;
/// Reads in one poll while discarding, before other tasks get their turn.
const DISCARD_READS: usize = 16;
/// Most bytes thrown away: more than the largest package, so that a client that sends one which
/// is refused early still gets to read why.
const MAX_DISCARD: u64 = 128 * 1024 * 1024;

/// Deadlines of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// From the first byte of a head (from the accept, for the first) to its last.
    pub head: Duration,
    /// Without a request, after the last response.
    pub idle: Duration,
    /// Without a byte of a body that is waited for.
    pub body_idle: Duration,
    /// From the end of a head to the end of its body.
    pub body_total: Duration,
    /// Without a byte of a response being taken by the peer.
    pub write_stall: Duration,
    /// How long what the peer still sends is thrown away after an early end, so that a reset does
    /// not take the response with it.
    pub linger: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body_idle: Duration::from_secs(20),
            body_total: Duration::from_secs(600),
            write_stall: Duration::from_secs(30),
            linger: Duration::from_secs(2),
        }
    }
}

#[derive(Debug)]
enum State {
    Head(HeadReader),
    Length(u64),
    Chunked(ChunkReader),
    /// A body broke a rule; the reader of the body is told next.
    Broken(Violation),
    /// An upgrade request is being answered; the peer must be silent.
    AwaitSwitch,
    /// The connection is no longer HTTP.
    Tunnel(Pin<Box<WaitForCancellationFutureOwned>>),
    /// Nothing is read any more; only answers go out.
    Deaf,
}

/// The guarded connection: what hyper reads from and writes to.
#[derive(Debug)]
pub(crate) struct GuardedIo<T> {
    io: T,
    link: Arc<Link>,
    limits: HeadLimits,
    deadlines: Deadlines,
    cut: CancellationToken,
    state: State,
    hold: Hold,
    /// Bytes at the front of `hold` that are accepted and wait for hyper to take them.
    ready: usize,
    seq: u64,
    read_alarm: Alarm,
    /// Since when the peer is waited for: since the accept or the first byte of a head, or since
    /// a body was read last.
    waiting_since: Option<Instant>,
    body_deadline: Option<Instant>,
    write_alarm: Alarm,
    stalled_since: Option<Instant>,
    lingering: Option<(Instant, u64)>,
    peer_closed: bool,
    /// Held for the life of the connection, tunnels included: it counts against the bound.
    _slot: Option<Place>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> GuardedIo<T> {
    pub(crate) fn new(
        io: T,
        link: Arc<Link>,
        limits: HeadLimits,
        deadlines: Deadlines,
        cut: CancellationToken,
        slot: Option<Place>,
    ) -> Self {
        Self {
            io,
            link,
            limits,
            deadlines,
            cut,
            state: State::Head(HeadReader::new(limits)),
            hold: Hold::default(),
            ready: 0,
            seq: 0,
            read_alarm: Alarm::default(),
            waiting_since: Some(Instant::now()),
            body_deadline: None,
            write_alarm: Alarm::default(),
            stalled_since: None,
            lingering: None,
            peer_closed: false,
            _slot: slot,
        }
    }

    /// Hands accepted bytes over.
    fn hand_over(&mut self, buf: &mut ReadBuf<'_>) {
        let n = self.ready.min(buf.remaining());
        buf.put_slice(&self.hold.held()[..n]);
        self.hold.advance(n);
        self.ready -= n;
    }

    /// Reads from the socket into the hold. `Ready(0)` is the peer's end.
    fn fill_hold(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.hold.make_room();
        let mut buf = ReadBuf::new(&mut self.hold.bytes[self.hold.end..]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
        let n = buf.filled().len();
        self.hold.end += n;
        self.peer_closed |= n == 0;
        Poll::Ready(Ok(n))
    }

    /// One step while a head is awaited. `Ready(true)`: go on; `Ready(false)`: the end.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let State::Head(reader) = &mut self.state else {
            return Poll::Ready(Ok(true));
        };
        if !self.hold.is_empty() {
            match reader.read(self.hold.held()) {
                Ok(Some(head)) => return Poll::Ready(self.accept(head).map(|()| true)),
                Ok(None) => {}
                Err(violation) => return Poll::Ready(self.refuse(violation).map(|()| true)),
            }
            self.waiting_since.get_or_insert_with(Instant::now);
        }
        match self.fill_hold(cx) {
            Poll::Ready(read) => Poll::Ready(read.map(|n| n > 0)),
            Poll::Pending => self.poll_head_deadline(cx),
        }
    }

    fn poll_head_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if let Some(since) = self.waiting_since {
            ready!(self.read_alarm.poll(cx, since + self.deadlines.head));
            // Not a byte came: there is no request to answer.
            if self.hold.is_empty() {
                return Poll::Ready(Ok(false));
            }
            return Poll::Ready(self.refuse(Violation::HeadTimeout).map(|()| true));
        }
        self.hold.shrink();
        // Never zero, so that looking again always waits.
        let idle = self.deadlines.idle.max(Duration::from_millis(1));
        loop {
            let quiet = self.link.quiet_since();
            let deadline = quiet.unwrap_or_else(Instant::now) + idle;
            ready!(self.read_alarm.poll(cx, deadline));
            if quiet.is_some() {
                return Poll::Ready(Ok(false));
            }
        }
    }

    fn accept(&mut self, head: Head) -> io::Result<()> {
        if head.upgrade && self.hold.held().len() > head.bytes {
            return self.refuse(Violation::BytesAfterUpgrade);
        }
        self.seq += 1;
        if !self.link.push(Verdict::Pass {
            seq: self.seq,
            head,
        }) {
            return Err(io::Error::other(Violation::Desync));
        }
        self.ready = head.bytes;
        self.waiting_since = None;
        match head.framing {
            _ if head.upgrade => self.state = State::AwaitSwitch,
            Framing::Empty | Framing::Length(0) => self.next_head(),
            Framing::Length(n) => self.begin_body(State::Length(n)),
            Framing::Chunked => self.begin_body(State::Chunked(ChunkReader::default())),
        }
        Ok(())
    }

    fn begin_body(&mut self, state: State) {
        self.state = state;
        self.body_deadline = Some(Instant::now() + self.deadlines.body_total);
    }

    fn next_head(&mut self) {
        self.state = State::Head(HeadReader::new(self.limits));
        self.waiting_since = None;
        self.body_deadline = None;
    }

    fn refuse(&mut self, violation: Violation) -> io::Result<()> {
        tracing::debug!(reason = violation.reason(), "request refused");
        self.state = State::Deaf;
        if !self.link.push(Verdict::Refuse(violation)) {
            return Err(io::Error::other(Violation::Desync));
        }
        self.hold.clear();
        self.hold.push(STAND_IN);
        self.ready = STAND_IN.len();
        Ok(())
    }

    /// One step inside a body. `Ready(true)`: bytes are in `buf` or the state has moved on;
    /// `Ready(false)`: the peer's end.
    fn poll_body(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        if !self.hold.is_empty() {
            let held = self.hold.end - self.hold.start;
            self.ready = track(
                &mut self.state,
                &self.hold.bytes[self.hold.start..self.hold.end],
            );
            debug_assert!(self.ready <= held);
            self.end_of_body();
            return Poll::Ready(Ok(true));
        }
        let before = buf.filled().len();
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Ready(read) => read?,
            Poll::Pending => return self.poll_body_deadline(cx),
        }
        self.waiting_since = None;
        let fresh = &buf.filled()[before..];
        if fresh.is_empty() {
            self.peer_closed = true;
            return Poll::Ready(Ok(false));
        }
        let taken = track(&mut self.state, fresh);
        self.hold.push(&fresh[taken..]);
        buf.set_filled(before + taken);
        self.end_of_body();
        Poll::Ready(Ok(true))
    }

    fn end_of_body(&mut self) {
        match &self.state {
            State::Length(0) => self.next_head(),
            State::Chunked(reader) if reader.is_done() => self.next_head(),
            _ => {}
        }
    }

    fn poll_body_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let idle = since + self.deadlines.body_idle;
        let total = self.body_deadline.unwrap_or(idle);
        ready!(self.read_alarm.poll(cx, idle.min(total)));
        let late = if total <= idle {
            Violation::BodyDeadline
        } else {
            Violation::BodyIdle
        };
        self.state = State::Broken(late);
        Poll::Ready(Ok(true))
    }

    /// Nothing is read any more. hyper hands a connection whose upgrade was declined to whoever
    /// took the upgrade: that reader gets an error, after the time that the answer has to leave.
    fn poll_deaf(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.link.declined() {
            return Poll::Pending;
        }
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        ready!(self.read_alarm.poll(cx, since + self.deadlines.linger));
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }

    /// While an upgrade is being answered the peer must be silent.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let n = match self.fill_hold(cx) {
            Poll::Ready(read) => read?,
            Poll::Pending => return self.poll_deaf(cx),
        };
        if n == 0 {
            return Poll::Ready(Ok(()));
        }
        self.state = State::Deaf;
        self.link.fail(self.seq, Violation::BytesAfterUpgrade);
        if self.link.switched() {
            // Too late for a 400: the 101 is on its way into the socket. No tunnel is opened.
            return Poll::Ready(Err(io::Error::other(Violation::BytesAfterUpgrade)));
        }
        Poll::Pending
    }

    /// The last look before a 101 leaves: what has arrived by now came too early.
    fn before_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !matches!(self.state, State::AwaitSwitch) || !self.link.switched() {
            return Ok(());
        }
        match self.poll_silence(cx) {
            Poll::Ready(Err(e)) => Err(e),
            Poll::Ready(Ok(())) => Err(io::ErrorKind::UnexpectedEof.into()),
            Poll::Pending => {
                self.state = State::Tunnel(Box::pin(self.cut.clone().cancelled_owned()));
                Ok(())
            }
        }
    }

    fn written(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if result.is_ready() {
            self.stalled_since = None;
            return result;
        }
        let since = *self.stalled_since.get_or_insert_with(Instant::now);
        ready!(
            self.write_alarm
                .poll(cx, since + self.deadlines.write_stall)
        );
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Whether the peer may have sent something that nobody will read.
    fn leaves_bytes_unread(&self) -> bool {
        let between_requests = matches!(self.state, State::Head(_)) && self.hold.is_empty();
        !(self.peer_closed || between_requests || matches!(self.state, State::Tunnel(_)))
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (until, mut left) = *self
            .lingering
            .get_or_insert_with(|| (Instant::now() + self.deadlines.linger, MAX_DISCARD));
        self.hold.clear();
        self.hold.bytes.resize(DISCARD, 0);
        for _ in 0..DISCARD_READS {
            let mut buf = ReadBuf::new(&mut self.hold.bytes);
            match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
                Poll::Pending => return self.read_alarm.poll(cx, until).map(Ok),
                Poll::Ready(Err(_)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {}
            }
            let n = buf.filled().len() as u64;
            left = left.saturating_sub(n);
            if n == 0 || left == 0 || Instant::now() >= until {
                return Poll::Ready(Ok(()));
            }
        }
        self.lingering = Some((until, left));
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Follows body bytes; returns how many of them are accepted as part of this body.
fn track(state: &mut State, bytes: &[u8]) -> usize {
    match state {
        State::Length(left) => {
            let here = (*left).min(bytes.len() as u64);
            *left -= here;
            here as usize
        }
        State::Chunked(reader) => {
            let progress = reader.read(bytes);
            if let Some(violation) = progress.bad {
                *state = State::Broken(violation);
            }
            progress.taken
        }
        _ => 0,
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for GuardedIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        loop {
            if this.ready > 0 {
                this.hand_over(buf);
            }
            if buf.filled().len() > before || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let go_on = match &mut this.state {
                State::Head(_) => ready!(this.poll_head(cx))?,
                State::Length(_) | State::Chunked(_) => ready!(this.poll_body(cx, buf))?,
                State::Broken(violation) => {
                    let violation = *violation;
                    this.state = State::Deaf;
                    this.link.fail(this.seq, violation);
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, violation)));
                }
                State::AwaitSwitch => return this.poll_silence(cx),
                State::Tunnel(cut) => {
                    if cut.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                    }
                    return Pin::new(&mut this.io).poll_read(cx, buf);
                }
                State::Deaf => return this.poll_deaf(cx),
            };
            if !go_on {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for GuardedIo<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.before_write(cx)?;
        let result = Pin::new(&mut this.io).poll_write(cx, buf);
        this.written(cx, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.before_write(cx)?;
        let result = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            if !this.leaves_bytes_unread() {
                return Poll::Ready(Ok(()));
            }
        }
        this.poll_discard(cx)
    }
}
