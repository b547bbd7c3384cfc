//! The accept loop of a listener: TLS handshake, then HTTP/1.1 or 2, with bounds on connections
//! and time, and a graceful end.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body, extract::Request};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::{linger::lingering, tls::Tls};
use crate::{
    config::Limits,
    identify::{CertificateNames, Failure},
};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// After an accept that fails for want of file descriptors, wait instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const H2_STREAMS_MAX: u32 = 128;
const HEADER_BYTES_MAX: usize = 32 * 1024;

/// What is known of a connection; an extension of each of its requests.
#[derive(Clone)]
pub struct Peer {
    pub address: SocketAddr,
    pub certificate: Option<Arc<CertificateNames>>,
}

/// A bound listener.
pub struct Accept {
    pub listener: TcpListener,
    pub tls: Arc<Tls>,
    pub router: Router,
    /// Told of client certificates that TLS itself refused: they are failed logins too.
    pub refused: OnRefused,
}

/// Called with the reason and the caller's address.
pub type OnRefused = Arc<dyn Fn(Failure, IpAddr) + Send + Sync>;

impl Accept {
    /// Serves until `stop` turns true, then lets requests in flight finish for at most
    /// `limits.shutdown_ms`.
    pub async fn run(self, limits: Limits, mut stop: watch::Receiver<bool>) {
        let connections = Arc::new(Semaphore::new(limits.connections));
        let graceful = GracefulShutdown::new();
        loop {
            let Ok(permit) = connections.clone().acquire_owned().await else { break };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let Ok((stream, address)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let connection = Connection {
                tls: self.tls.clone(),
                router: self.router.clone(),
                header_timeout: Duration::from_millis(limits.header_timeout_ms),
                refused: self.refused.clone(),
                watcher: graceful.watcher(),
                stop: stop.clone(),
            };
            tokio::spawn(async move {
                connection.serve(stream, address).await;
                drop(permit);
            });
        }
        drop(self.listener);
        let bound = Duration::from_millis(limits.shutdown_ms);
        if tokio::time::timeout(bound, graceful.shutdown()).await.is_err() {
            tracing::warn!(event = "connections-cut", "requests outlived the graceful stop");
        }
    }
}

struct Connection {
    tls: Arc<Tls>,
    router: Router,
    header_timeout: Duration,
    refused: OnRefused,
    watcher: hyper_util::server::graceful::Watcher,
    stop: watch::Receiver<bool>,
}

impl Connection {
    fn handshake_failed(&self, error: &std::io::Error, address: SocketAddr) {
        tracing::debug!(event = "handshake-failed");
        let failure = match error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(_)) => Failure::CertificateInvalid,
            Some(rustls::Error::NoCertificatesPresented) => Failure::NoCredential,
            // Everything else is a broken connection, not a login.
            _ => return,
        };
        (self.refused)(failure, address.ip());
    }

    async fn serve(self, stream: TcpStream, address: SocketAddr) {
        // Small answers must not wait for more bytes; a socket that refuses still works.
        let _nodelay = stream.set_nodelay(true);
        // The configuration is taken now, at the handshake: a revoked authority counts at once.
        let acceptor = TlsAcceptor::from(self.tls.current());
        let mut stop = self.stop.clone();
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
        let stream = tokio::select! {
            done = handshake => match done {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return self.handshake_failed(&error, address),
                Err(_) => return,
            },
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let certificate = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(|leaf| Arc::new(CertificateNames::of(leaf)));
        let peer = Peer { address, certificate };
        let router = self.router.map_request(move |mut request: Request<_>| {
            request.extensions_mut().insert(peer.clone());
            let (head, body) = request.into_parts();
            let body = lingering(&head.headers, Body::new(body));
            Request::from_parts(head, body)
        });
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(HEADER_BYTES_MAX * 4);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(H2_STREAMS_MAX)
            .max_header_list_size(HEADER_BYTES_MAX as u32);
        let connection = builder
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
            .into_owned();
        if self.watcher.watch(connection).await.is_err() {
            tracing::debug!(event = "connection-ended-early");
        }
    }
}
