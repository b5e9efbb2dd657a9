//! TCP in: so many connections at once and no more.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::sleep,
};

use crate::{limits::HTTP_CONNECTIONS_MAX, log};

/// Accepts connections for ever, and has each served. While there are as many as can be, more wait in the kernel's
/// queue: each that is open ends by itself when it is idle.
pub(super) async fn accept<S>(listener: TcpListener, serve: impl Fn(TcpStream) -> S)
where
    S: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX));
    // Never closed, so there is always a place to wait for.
    while let Ok(place) = places.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let serving = serve(stream);
                tokio::spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            // Out of descriptors, or the peer is gone again: the next one may fare better.
            Err(error) => {
                log::provoked("listener", "accept", format_args!("accept: {error}"));
                sleep(Duration::from_millis(10)).await;
            }
        }
    }
}
