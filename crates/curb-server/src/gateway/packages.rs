//! Packages: up into Curb's own store; Ray gets them when a job that needs them starts.

use curb_api::Kind;
use curb_http::body::{BodyLimits, LimitedBody};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{Call, body_failure};
use crate::packages::{StoreError, check_package_name};
use crate::reply::{Failure, Reply, text};

/// Whether the caller has uploaded this.
pub fn get(call: &Call) -> Result<Reply, Failure> {
    let name = &call.parameter;
    if check_package_name(name).is_ok() && call.app.packages.has(call.who.user(), name) {
        return Ok(text(""));
    }
    Err(Failure::not_found(
        "curb: you have not uploaded a package of this name",
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
    let mut body = LimitedBody::new(body, limits).map_err(|e| body_failure(&e))?;
    let there = call.app.packages.has(call.who.user(), name);
    let mut upload = if there {
        None
    } else {
        Some(
            call.app
                .packages
                .begin(call.who.user(), name)
                .await
                .map_err(store_failure)?,
        )
    };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| body_failure(&e))?;
        if let (Some(upload), Some(data)) = (&mut upload, frame.data_ref()) {
            upload.write(data).await.map_err(store_failure)?;
        }
    }
    if let Some(upload) = upload {
        upload.finish().await.map_err(store_failure)?;
    }
    Ok(text(""))
}

fn store_failure(error: StoreError) -> Failure {
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
    let mut failure = Failure::new(status, kind, format!("curb: {error}"));
    failure.close = true;
    failure
}
