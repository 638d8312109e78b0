//! The stand-in's own controls under `/standin/`, for tests that run it as a process.
//!
//! | request | does |
//! | --- | --- |
//! | `GET /standin/state` | session, starts, jobs, requests, faults that are still to strike |
//! | `GET /standin/counts` | starts by id |
//! | `GET /standin/starts?after=SEQ&limit=N` | starts in order, with metadata |
//! | `GET /standin/requests?after=N` | requests after the first N: when, method, path; null if more came than are kept |
//! | `POST /standin/fault` | adds a [`crate::Fault`] |
//! | `POST /standin/chaos` | sets a [`crate::Chaos`] |
//! | `POST /standin/clear` | ends all faults |
//! | `POST /standin/restart` `{"memory":"forget"}` | a restart of the head; also `keep`, `keep-renamed` |
//! | `POST /standin/refuse` `{"ms":N}` | closes everything and refuses connections |
//! | `POST /standin/forget` `{"id":…}` | deletes a record behind everybody's back |
//! | `POST /standin/drop-package` `{"name":…}` | drops a package |
//! | `POST /standin/lie` `{"id":…,"status":…}` | tells another status; null for the truth |
//! | `POST /standin/finish` `{"id":…,"exit_code":N}` | ends a job now |

use crate::fault::{Chaos, Fault};
use crate::server::{Command, Shared, read_body};
use crate::world::{Memory, Reply};
use http::{Method, Request};
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::io;
use std::time::Duration;

/// The most starts told at once.
const MAX_STARTS: usize = 100_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Restart {
    memory: Memory,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refuse {
    ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forget {
    id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DropPackage {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lie {
    id: String,
    status: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Finish {
    id: String,
    exit_code: i32,
}

pub(crate) async fn answer(request: Request<Incoming>, shared: &Shared) -> io::Result<Reply> {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let body = match read_body(request.into_body()).await {
        Ok(body) => body,
        Err(reply) => return Ok(reply),
    };
    let verb = uri.path().trim_start_matches("/standin/");
    let result = match method {
        Method::GET => Ok(look(shared, verb, uri.query().unwrap_or_default())),
        Method::POST => change(shared, verb, &body),
        _ => Ok(None),
    };
    Ok(match result {
        Ok(Some(reply)) => reply,
        Ok(None) => Reply::text(404, "no such control of the stand-in\n"),
        Err(error) => Reply::text(400, format!("{error}\n")),
    })
}

fn look(shared: &Shared, verb: &str, query: &str) -> Option<Reply> {
    let world = shared.lock();
    let value = match verb {
        "state" => {
            json!({"session": world.session(), "starts": world.total_starts(), "jobs": world.jobs(), "requests": world.requests.count(), "faults": world.script.waiting()})
        }
        "counts" => json!(world.counts()),
        "requests" => {
            let after = number(query, "after").unwrap_or(0);
            json!(
                world
                    .requests
                    .after(u64::try_from(after).unwrap_or(u64::MAX))
            )
        }
        "starts" => json!(world.starts(
            number(query, "after").unwrap_or(0),
            number(query, "limit").unwrap_or(MAX_STARTS).min(MAX_STARTS)
        )),
        _ => return None,
    };
    Some(Reply::json(value.to_string()))
}

fn number(query: &str, key: &str) -> Option<usize> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
}

fn change(shared: &Shared, verb: &str, body: &[u8]) -> Result<Option<Reply>, serde_json::Error> {
    fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
        serde_json::from_slice(body)
    }
    let mut world = shared.lock();
    let done = match verb {
        "fault" => {
            world.script.add(read::<Fault>(body)?);
            json!({})
        }
        "chaos" => {
            let seed = world.options.seed;
            world.script.set_chaos(read::<Chaos>(body)?, seed);
            json!({})
        }
        "clear" => {
            world.script.clear();
            json!({})
        }
        "restart" => json!({"session": world.restart(read::<Restart>(body)?.memory)}),
        "refuse" => {
            let (closed, _nobody_waits) = std::sync::mpsc::sync_channel(1);
            let pause = Duration::from_millis(read::<Refuse>(body)?.ms);
            json!({"done": shared.command(Command::Refuse(pause, closed))})
        }
        "forget" => json!({"done": world.forget(&read::<Forget>(body)?.id)}),
        "drop-package" => json!({"done": world.drop_package(&read::<DropPackage>(body)?.name)}),
        "lie" => {
            let lie: Lie = read(body)?;
            json!({"done": world.lie(&lie.id, lie.status)})
        }
        "finish" => {
            let finish: Finish = read(body)?;
            json!({"done": world.finish(&finish.id, finish.exit_code)})
        }
        _ => return Ok(None),
    };
    Ok(Some(Reply::json(done.to_string())))
}
