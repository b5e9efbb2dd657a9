//! Key Vault's API over HTTPS, and over HTTP on the Unix socket. Asynchronous is only what waits for sockets, on two
//! threads; what a request asks for is done on [`workers`].
//!
//! The way of a request: [`listener`] → [`connection`] (TLS, heads, time-outs) → [`exchange`]: whom it asks
//! ([`authority`]), who asks ([`credentials`]), what ([`crate::keyvault`]) → [`crate::service`].

mod authority;
mod body;
mod connection;
mod credentials;
mod exchange;
mod headers;
mod listener;
mod replay;
mod stall;
mod workers;

use std::{fmt, io, net::SocketAddr, os::unix::net::UnixStream, sync::Arc, time::Duration};

use keyd_client::Fingerprint;
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;

pub use credentials::Credentials;

use crate::{
    auth::Caller,
    limits::{HTTP_THREADS, HTTP_WORKERS, THREAD_STACK_LEN},
    log,
    service::Service,
    tls::Names,
};
use workers::Workers;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A process of this host, on the Unix socket.
    Local(Caller),
    /// Anybody, over TLS.
    Remote {
        /// From where.
        address: SocketAddr,
        /// The certificate it has shown.
        certificate: Option<Fingerprint>,
    },
}

impl Peer {
    fn scheme(&self) -> &'static str {
        match self {
            Self::Local(_) => "http",
            Self::Remote { .. } => "https",
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(caller) => caller.fmt(f),
            Self::Remote { address, .. } => address.fmt(f),
        }
    }
}

/// What all connections have in common.
#[derive(Debug)]
struct Shared {
    service: Arc<Service>,
    names: Names,
    workers: Workers,
}

/// The front, until it is stopped.
#[derive(Debug)]
pub struct Http {
    runtime: Runtime,
    shared: Arc<Shared>,
}

impl Http {
    /// Starts its threads. Nothing is served yet.
    ///
    /// # Errors
    /// The system's.
    pub fn start(service: Arc<Service>, names: Names) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(HTTP_THREADS)
            .max_blocking_threads(HTTP_WORKERS)
            .thread_name("http")
            .thread_stack_size(THREAD_STACK_LEN)
            .enable_all()
            .build()?;
        let shared = Arc::new(Shared { service, names, workers: Workers::new() });
        Ok(Self { runtime, shared })
    }

    /// Serves TLS connections of a listening socket, from now on.
    ///
    /// # Errors
    /// The system's.
    pub fn listen(
        &self,
        listener: std::net::TcpListener,
        tls: Arc<rustls::ServerConfig>,
    ) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let _inside = self.runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let serving = listener::serve(self.shared.clone(), TlsAcceptor::from(tls), listener);
        self.runtime.spawn(serving);
        Ok(())
    }

    /// Takes over a connection of the Unix socket that turned out to speak HTTP. `held` is dropped when it ends.
    pub fn adopt(
        &self,
        caller: Caller,
        beginning: Vec<u8>,
        stream: UnixStream,
        held: impl Send + 'static,
    ) {
        let shared = self.shared.clone();
        self.runtime.spawn(async move {
            let _held = held;
            let adopted = stream
                .set_nonblocking(true)
                .and_then(|()| tokio::net::UnixStream::from_std(stream));
            match adopted {
                Ok(stream) => {
                    connection::local(shared, Peer::Local(caller), beginning, stream).await
                }
                Err(error) => log::line(format_args!("a connection was closed: {error}")),
            }
        });
    }

    /// Ends every connection. What is being committed is committed.
    pub fn stop(self, patience: Duration) {
        self.runtime.shutdown_timeout(patience);
    }
}
