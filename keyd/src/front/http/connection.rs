//! One connection: TLS if it comes by TCP, then HTTP/1.1 until it is idle for too long.

use std::sync::Arc;

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::{Peer, Shared, exchange, replay::Replay, stall::Stall};
use crate::{
    limits::{HTTP_HEAD_LEN_MAX, HTTP_HEAD_TIMEOUT, HTTP_HEADERS_MAX, TLS_HANDSHAKE_TIMEOUT},
    tls::fingerprint,
};

/// Serves a connection by TCP.
pub(super) async fn remote(shared: Arc<Shared>, tls: TlsAcceptor, stream: TcpStream) {
    // Answers are short and whole: waiting to fill a segment only delays them.
    let _ = stream.set_nodelay(true);
    let Ok(address) = stream.peer_addr() else { return };
    let handshake = timeout(TLS_HANDSHAKE_TIMEOUT, tls.accept(Stall::new(stream))).await;
    // Scanners, and clients that do not trust the certificate: there is nothing to do about them.
    let Ok(Ok(stream)) = handshake else { return };
    let certificates = stream.get_ref().1.peer_certificates();
    let certificate = certificates.and_then(<[_]>::first).map(fingerprint);
    serve(shared, Peer::Remote { address, certificate }, stream).await;
}

/// Serves a connection on the Unix socket of which `beginning` was read.
pub(super) async fn local(shared: Arc<Shared>, peer: Peer, beginning: Vec<u8>, stream: UnixStream) {
    serve(shared, peer, Stall::new(Replay::new(beginning, stream))).await;
}

async fn serve<S>(shared: Arc<Shared>, peer: Peer, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let peer = Arc::new(peer);
    let service = service_fn(move |request| {
        let (shared, peer) = (shared.clone(), peer.clone());
        async move { Ok::<_, std::convert::Infallible>(exchange::answer(shared, peer, request).await) }
    });
    // hyper starts the clock of a head when it begins to wait for one: it is the time of an idle connection too.
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HTTP_HEAD_TIMEOUT)
        .max_buf_size(HTTP_HEAD_LEN_MAX)
        .max_headers(HTTP_HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    // However it ended, what was answered was answered; what a client breaks off is its own affair.
    let _ = served;
}
