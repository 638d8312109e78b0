//! A followed log over a websocket, as Ray sends it: up to ten lines a frame, 1000 at the end.

use crate::server::{ReplyBody, Shared, respond};
use crate::texts;
use crate::world::Reply;
use futures_util::{SinkExt, StreamExt};
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

/// Lines that Ray puts into one frame at most.
const LINES_PER_FRAME: usize = 10;

pub(crate) fn answer(
    request: &mut Request<Incoming>,
    shared: &Arc<Shared>,
    id: &str,
) -> Response<ReplyBody> {
    if !shared.lock().has_job(id) {
        return respond(Reply::text(404, texts::no_such_job(id)));
    }
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else {
        return respond(Reply::text(500, texts::TROUBLE)); // aiohttp's handshake error inside Ray's proxy
    };
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    let upgraded = hyper::upgrade::on(request);
    let (shared, id) = (shared.clone(), id.to_owned());
    tokio::spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            let socket =
                WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            let mut cut = shared.cut();
            tokio::select! {
                () = follow(socket, &shared, &id) => {}
                _cut = cut.changed() => {}
            }
        }
    });
    let mut response = Response::new(ReplyBody::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = accept {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

async fn follow(mut socket: Socket, shared: &Shared, id: &str) {
    let mut poll = interval(
        shared
            .lock()
            .options
            .tail_poll
            .max(std::time::Duration::from_millis(1)),
    );
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = 0;
    loop {
        tokio::select! {
            _ = poll.tick() => {
                // A record that went away ends the stream, as a lost node does in Ray.
                let (log, ended) = shared.lock().log(id).unwrap_or((String::new(), true));
                if send_lines(&mut socket, log.get(sent..).unwrap_or_default()).await.is_err() {
                    return;
                }
                sent = sent.max(log.len());
                if ended {
                    break;
                }
            }
            // Answers pings, and notices that the client has gone.
            message = socket.next() => match message {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
        }
    }
    let _client_may_have_gone = socket
        .close(Some(CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        }))
        .await;
    while let Some(Ok(_)) = socket.next().await {} // until the client's own close
}

async fn send_lines(
    socket: &mut Socket,
    text: &str,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for frame in lines.chunks(LINES_PER_FRAME) {
        socket.send(Message::text(frame.concat())).await?;
    }
    Ok(())
}
