//! A kept connection that closes at the very moment in which a request is given to it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::*;
use crate::FrontLimits;

/// Takes connections and answers one request on each; counts requests.
fn server() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("an address");
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().take(3) {
            let mut stream = stream.expect("a connection");
            let mut request = [0; 4096];
            let read = stream.read(&mut request).expect("a request");
            count.fetch_add(usize::from(read > 0), Ordering::SeqCst);
            stream
                .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                .expect("it is taken");
        }
    });
    (at, asked)
}

/// A connection that has nothing to say until `gone`, and then is closed: whoever looks next sees that, and not before.
struct Closes {
    gone: Arc<AtomicBool>,
    written: Arc<AtomicUsize>,
}

impl AsyncRead for Closes {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.gone.load(Ordering::SeqCst) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }
}

impl AsyncWrite for Closes {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.written.fetch_add(bytes.len(), Ordering::SeqCst);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn flight(shared: &Arc<Shared>) -> Flight {
    shared.set_state(State::Up);
    let client = Client::of(IpAddr::from([127, 0, 0, 1]));
    let flight = shared.enter(client).expect("there is a place");
    flight.turn(false).await.expect("nobody is before it");
    flight
}

fn request() -> Request<Upload> {
    let mut request = Request::new(Upload::empty());
    let host = http::HeaderValue::from_static("a");
    request.headers_mut().insert(header::HOST, host);
    request
}

#[tokio::test]
async fn a_request_of_which_not_a_byte_was_sent_is_sent_over_another_connection_once() {
    let (at, asked) = server();
    let shared = Shared::new(FrontLimits::new(([127, 0, 0, 1], 0).into(), at));
    let (gone, written) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let io = Closes {
        gone: Arc::clone(&gone),
        written: Arc::clone(&written),
    };
    shared.pool(Target::Primary).keep_this(io).await;
    let mut flight = flight(&shared).await;
    gone.store(true, Ordering::SeqCst);
    let sent = send(&mut flight, request(), None, &Sent::default()).await;
    let (response, target, _lease) = sent.expect("an answer");
    assert_eq!(
        (response.status(), target),
        (StatusCode::NO_CONTENT, Target::Primary)
    );
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(written.load(Ordering::SeqCst), 0);
    assert_eq!(shared.counts().retried, 1);
}
