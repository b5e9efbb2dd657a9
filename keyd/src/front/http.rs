//! Key Vault's API over HTTPS, and over HTTP on the Unix socket. Asynchronous is only what waits for sockets, on two
//! threads; what a request asks for is done on [`workers`].
//!
//! The way of a request: [`listener`] → [`connection`] (TLS, heads, time-outs) → [`exchange`]: whom it asks
//! ([`authority`]), who asks ([`credentials`]), what ([`crate::keyvault`]) → [`crate::service`].

mod authority;
mod body;
mod connection;
mod credentials;
pub mod doors;
mod exchange;
mod headers;
mod identity;
mod listener;
pub mod patience;
mod replay;
mod stall;
mod workers;

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixStream,
    sync::Arc,
    time::Duration,
};

use keyd_client::Fingerprint;
use tokio::{
    net::TcpStream,
    runtime::{Builder, Handle, Runtime},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    auth::Caller,
    limits::{HTTP_THREADS, HTTP_WORKERS, THREAD_STACK_LEN},
    log,
    service::{Origin, Service},
    tls::Names,
};
use doors::Doors;
use patience::Patience;
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

impl Peer {
    /// From where it asks.
    fn origin(&self) -> Origin {
        match self {
            Self::Local(caller) => Origin::local(caller),
            Self::Remote { address, .. } => Origin::remote(address, address.ip()),
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
    patience: Patience,
}

/// The threads of this front; they end when it is stopped.
#[derive(Debug)]
pub struct Http {
    runtime: Runtime,
    shared: Arc<Shared>,
}

impl Http {
    /// Starts them, and serves at these doors.
    ///
    /// # Errors
    /// The system's.
    pub fn start(service: Arc<Service>, doors: Doors) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(HTTP_THREADS)
            .max_blocking_threads(HTTP_WORKERS)
            .thread_name("http")
            .thread_stack_size(THREAD_STACK_LEN)
            .enable_all()
            .build()?;
        let Doors { names, patience, .. } = doors;
        let shared = Arc::new(Shared { service, names, workers: Workers::new(), patience });
        let http = Self { runtime, shared };
        if let Some((listener, tls)) = doors.https {
            let (shared, tls) = (http.shared.clone(), TlsAcceptor::from(tls));
            let serve = move |stream| connection::https(shared.clone(), tls.clone(), stream);
            http.listen(listener, serve)?;
        }
        if let Some(listener) = doors.identity {
            let shared = http.shared.clone();
            http.listen(listener, move |stream| connection::plain(shared.clone(), stream))?;
        }
        Ok(http)
    }

    fn listen<S>(
        &self,
        listener: TcpListener,
        serve: impl Fn(TcpStream) -> S + Send + Sync + 'static,
    ) -> io::Result<()>
    where
        S: Future<Output = ()> + Send + 'static,
    {
        listener.set_nonblocking(true)?;
        let _inside = self.runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        self.runtime.spawn(listener::accept(listener, serve));
        Ok(())
    }

    /// What takes over connections of the Unix socket.
    #[must_use]
    pub fn adopter(&self) -> Adopter {
        Adopter { runtime: self.runtime.handle().clone(), shared: self.shared.clone() }
    }

    /// Ends every connection. What is being committed is committed, if it does not take longer than `patience`.
    pub fn stop(self, patience: Duration) {
        self.runtime.shutdown_timeout(patience);
    }
}

/// Takes over connections of the Unix socket that turn out to speak HTTP.
#[derive(Debug, Clone)]
pub struct Adopter {
    runtime: Handle,
    shared: Arc<Shared>,
}

impl Adopter {
    /// Takes one over of which `beginning` was read; `held` is dropped when it ends.
    pub fn adopt(
        &self,
        caller: Caller,
        beginning: &[u8],
        stream: UnixStream,
        held: impl Send + 'static,
    ) {
        let (shared, beginning) = (self.shared.clone(), beginning.to_vec());
        self.runtime.spawn(async move {
            let _held = held;
            let adopted = stream
                .set_nonblocking(true)
                .and_then(|()| tokio::net::UnixStream::from_std(stream));
            match adopted {
                Ok(stream) => connection::local(shared, caller, beginning, stream).await,
                Err(error) => log::provoked(
                    "socket",
                    "a connection was closed",
                    format_args!("a connection was closed: {error}"),
                ),
            }
        });
    }
}
