//! The body of a request: no longer than its operation needs, and there in time.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::keyvault::{Kind, Problem};

/// A body. It may hold a plaintext or a private key: it wipes itself.
pub(super) type Body = Zeroizing<Vec<u8>>;

/// Reads a body.
///
/// # Errors
/// [`Kind::TooLong`]; [`Kind::BadParameter`] if it did not come whole in time.
pub(super) async fn read(
    body: Incoming,
    len_max: usize,
    patience: Duration,
) -> Result<Body, Problem> {
    // What the client announces is refused before it is sent.
    if body.size_hint().lower() > len_max as u64 {
        return Err(too_long(len_max));
    }
    let read = timeout(patience, collect(body, len_max)).await;
    read.unwrap_or_else(|_| Err(Problem::bad("the request body did not come in time")))
}

async fn collect(mut body: Incoming, len_max: usize) -> Result<Body, Problem> {
    let announced = body.size_hint().exact().and_then(|len| usize::try_from(len).ok());
    // Of its final length where that is known: a buffer that grew leaves a copy behind.
    let mut whole = Zeroizing::new(Vec::with_capacity(announced.unwrap_or_default()));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::bad("the request body ended before its length"))?;
        let Some(data) = frame.data_ref() else { continue };
        if whole.len() + data.len() > len_max {
            return Err(too_long(len_max));
        }
        whole.extend_from_slice(data);
    }
    Ok(whole)
}

fn too_long(len_max: usize) -> Problem {
    Problem::new(Kind::TooLong, format!("the request body is longer than {len_max} bytes"))
}
