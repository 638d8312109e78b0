//! Packages: up into Curb's own store; Ray gets them when a job that needs them starts.

use bytes::Bytes;
use curb_api::Kind;
use curb_http::body::{BodyError, BodyLimits, LimitedBody};
use curb_http::response::size_text;
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{Call, body_failure};
use crate::collect::make_room;
use crate::packages::{StoreError, Upload, check_package_name};
use crate::reply::{Failure, Reply, text};

/// Whether the caller has uploaded this.
pub fn get(call: &Call) -> Result<Reply, Failure> {
    let name = &call.parameter;
    if check_package_name(name).is_ok() && call.app.packages.has(call.who.user(), name) {
        return Ok(text(""));
    }
    Err(Failure::not_found(
        "curb: you have not uploaded a package of this name",
        "submit from the files: Ray's client uploads what is not here by itself",
    ))
}

/// Takes a package. The first write of a name wins.
pub async fn put(call: &Call, body: Incoming) -> Result<Reply, Failure> {
    let name = &call.parameter;
    check_package_name(name).map_err(|m| Failure::bad_request(format!("curb: {m}")))?;
    let limits = BodyLimits {
        max_bytes: call.app.config.limits.package,
        ..BodyLimits::PACKAGE
    };
    let mut body = LimitedBody::new(body, limits).map_err(|e| upload_failure(&e))?;
    let there = call.app.packages.has(call.who.user(), name);
    let mut upload = if there {
        None
    } else {
        Some(begin(call, name).await.map_err(store_failure)?)
    };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| upload_failure(&e))?;
        if let (Some(upload), Some(data)) = (&mut upload, frame.data_ref()) {
            write(call, upload, data).await.map_err(store_failure)?;
        }
    }
    if let Some(upload) = upload {
        upload.finish().await.map_err(store_failure)?;
    }
    Ok(text(""))
}

async fn begin<'a>(call: &'a Call, name: &str) -> Result<Upload<'a>, StoreError> {
    let (store, user) = (&call.app.packages, call.who.user());
    match store.begin(user, name).await {
        Err(error) if error.wants_room() && make_room(&call.app).await => {
            store.begin(user, name).await
        }
        other => other,
    }
}

async fn write(call: &Call, upload: &mut Upload<'_>, piece: &Bytes) -> Result<(), StoreError> {
    match upload.write(piece).await {
        // Nothing of the piece was written.
        Err(error) if error.wants_room() && make_room(&call.app).await => upload.write(piece).await,
        other => other,
    }
}

pub(crate) fn upload_failure(error: &BodyError) -> Failure {
    let BodyError::TooLarge { limit } = error else {
        return body_failure(error);
    };
    let mut failure = Failure::new(
        error.status(),
        Kind::BodyTooLarge,
        format!(
            "curb: the package is larger than the limit of {}",
            size_text(*limit)
        ),
        "leave out what the job does not need (`excludes` in its runtime_env), and let it read data from storage",
    );
    failure.close = true;
    failure
}

pub(crate) fn store_failure(error: StoreError) -> Failure {
    let (status, kind) = match &error {
        StoreError::UserFull { .. } | StoreError::TooMany => {
            (StatusCode::PAYLOAD_TOO_LARGE, Kind::PackagesOfUserFull)
        }
        StoreError::Full { .. } => (StatusCode::INSUFFICIENT_STORAGE, Kind::PackagesFull),
        StoreError::Disk(cause) => {
            tracing::error!(%cause, "the package store could not write");
            (StatusCode::INSUFFICIENT_STORAGE, Kind::PackagesNotWritable)
        }
    };
    let mut failure = Failure::new(status, kind, format!("curb: {error}"), error.next());
    failure.close = true;
    failure
}
