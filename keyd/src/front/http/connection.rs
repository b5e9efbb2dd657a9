//! One connection: TLS if it comes by TCP, then HTTP/1.1 until it is idle for too long.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::{Peer, Shared, exchange, identity, replay::Replay, stall::Stall};
use crate::{
    auth::Caller,
    limits::{HTTP_HEAD_LEN_MAX, HTTP_HEADERS_MAX},
    tls::fingerprint,
};

/// What is served on a connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Door {
    /// Key Vault's API.
    KeyVault,
    /// Tokens of managed identities.
    Identity,
}

/// Serves a connection by TCP, with TLS inside.
pub(super) async fn https(shared: Arc<Shared>, tls: TlsAcceptor, stream: TcpStream) {
    let Some(address) = begin(&stream) else { return };
    let stream = Stall::new(stream, shared.patience.stall);
    let handshake = timeout(shared.patience.handshake, tls.accept(stream)).await;
    // Scanners, and clients that do not trust the certificate: there is nothing to do about them.
    let Ok(Ok(stream)) = handshake else { return };
    let certificates = stream.get_ref().1.peer_certificates();
    let certificate = certificates.and_then(<[_]>::first).map(fingerprint);
    serve(shared, Door::KeyVault, Peer::Remote { address, certificate }, stream).await;
}

/// Serves a connection by TCP on this host, without TLS.
pub(super) async fn plain(shared: Arc<Shared>, stream: TcpStream) {
    let Some(address) = begin(&stream) else { return };
    let peer = Peer::Remote { address, certificate: None };
    let stream = Stall::new(stream, shared.patience.stall);
    serve(shared, Door::Identity, peer, stream).await;
}

/// Serves a connection on the Unix socket of which `beginning` was read.
pub(super) async fn local(
    shared: Arc<Shared>,
    caller: Caller,
    beginning: Vec<u8>,
    stream: UnixStream,
) {
    let stream = Stall::new(Replay::new(beginning, stream), shared.patience.stall);
    serve(shared, Door::KeyVault, Peer::Local(caller), stream).await;
}

/// Whose connection it is; nobody's if it is broken already.
fn begin(stream: &TcpStream) -> Option<SocketAddr> {
    // Answers are short and whole: waiting to fill a segment only delays them.
    stream.set_nodelay(true).ok()?;
    stream.peer_addr().ok()
}

async fn serve<S>(shared: Arc<Shared>, door: Door, peer: Peer, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (peer, head) = (Arc::new(peer), shared.patience.head);
    let service = service_fn(move |request| {
        let (shared, peer) = (shared.clone(), peer.clone());
        async move {
            Ok::<_, Infallible>(match door {
                Door::KeyVault => exchange::answer(shared, peer, request).await,
                Door::Identity => identity::answer(shared, peer, request).await,
            })
        }
    });
    // hyper starts the clock of a head when it begins to wait for one: it is the time of an idle connection too.
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(HTTP_HEAD_LEN_MAX)
        .max_headers(HTTP_HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    // However it ended, what was answered was answered; what a client breaks off is its own affair.
    let _ = served;
}
