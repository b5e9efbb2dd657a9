//! TCP in: so many connections at once and no more.

use std::{io, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::Semaphore, time::sleep};
use tokio_rustls::TlsAcceptor;

use super::{Shared, connection};
use crate::{limits::HTTP_CONNECTIONS_MAX, log};

/// Accepts connections for ever. While there are as many as can be, more wait in the kernel's queue: each that is open
/// ends by itself when it is idle.
pub(super) async fn serve(shared: Arc<Shared>, tls: TlsAcceptor, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX));
    // Never closed, so there is always a place to wait for.
    while let Ok(place) = places.clone().acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                pause(&error).await;
                continue;
            }
        };
        let (shared, tls) = (shared.clone(), tls.clone());
        tokio::spawn(async move {
            connection::remote(shared, tls, stream).await;
            drop(place);
        });
    }
}

/// Out of descriptors, or the peer is gone again: the next one may fare better.
async fn pause(error: &io::Error) {
    log::line(format_args!("accept: {error}"));
    sleep(Duration::from_millis(10)).await;
}
