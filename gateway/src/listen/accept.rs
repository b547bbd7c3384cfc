//! The accept loop of a listener: TLS handshake, then HTTP/1.1 or 2, or another protocol, with bounds on connections
//! and time, and a graceful end.

use std::{
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderValue, Version, header},
    response::Response,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::ServiceExt;

use super::{
    head::Heads,
    linger::lingering,
    pace::{Over, Pace, Times},
    places::Places,
    shape,
    tls::Tls,
};
use crate::{
    config::Limits,
    identify::{CertificateNames, Failure},
    telemetry::Metrics,
};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// After an accept that fails for want of file descriptors, wait instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections that are told to end and have nothing left to do end within this time.
const CLOSING: Duration = Duration::from_secs(5);
const H2_STREAMS_MAX: u32 = 128;
/// What a peer may send before anybody reads it: of one stream, and of a connection.
const H2_STREAM_WINDOW: u32 = 64 * 1024;
const H2_CONNECTION_WINDOW: u32 = 128 * 1024;
/// A peer with requests under way that does not answer a ping for this long is gone.
const H2_PING: Duration = Duration::from_secs(20);
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
    pub protocol: Arc<dyn Protocol>,
    pub places: Arc<Places>,
    pub metrics: Arc<Metrics>,
    /// Told of client certificates that TLS itself refused: they are failed logins too.
    pub refused: OnRefused,
}

/// What is spoken over a connection.
pub trait Protocol: Send + Sync {
    /// How long its connections may take.
    fn times(&self, limits: &Limits) -> Times {
        Times::of(limits)
    }

    /// Serves a connection to its end; says why, if we ended it.
    fn serve(
        self: Arc<Self>,
        stream: TlsStream<TcpStream>,
        peer: Peer,
        pace: Arc<Pace>,
        stop: watch::Receiver<bool>,
    ) -> Served;
}

pub type Served = Pin<Box<dyn Future<Output = Option<Over>> + Send>>;

/// Called with the reason and the caller's address.
pub type OnRefused = Arc<dyn Fn(Failure, IpAddr) + Send + Sync>;

impl Accept {
    /// Serves until `stop` turns true, then lets requests in flight finish for at most
    /// `limits.shutdown_ms`.
    pub async fn run(self, limits: Limits, mut stop: watch::Receiver<bool>) {
        // Nothing is sent: it ends when the last connection has dropped its sender.
        let (alive, mut all_ended) = mpsc::channel::<()>(1);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stopped(&mut stop) => break,
            };
            let Ok((stream, address)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let pace = Pace::new(self.protocol.times(&limits));
            let Some(place) = self.places.take(address.ip(), &pace) else {
                self.metrics.count_connection_closed("full");
                continue;
            };
            let connection = Connection {
                tls: self.tls.clone(),
                protocol: self.protocol.clone(),
                pace,
                refused: self.refused.clone(),
                stop: stop.clone(),
            };
            let (metrics, alive) = (self.metrics.clone(), alive.clone());
            tokio::spawn(async move {
                if let Some(over) = connection.serve(stream, address).await {
                    metrics.count_connection_closed(over.code());
                }
                drop((place, alive));
            });
        }
        drop((self.listener, alive));
        let bound = Duration::from_millis(limits.shutdown_ms);
        if tokio::time::timeout(bound, all_ended.recv()).await.is_err() {
            tracing::warn!(event = "connections-cut", "requests outlived the graceful stop");
        }
    }
}

struct Connection {
    tls: Arc<Tls>,
    protocol: Arc<dyn Protocol>,
    pace: Arc<Pace>,
    refused: OnRefused,
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

    /// Serves a connection to its end; says why, if we ended it.
    async fn serve(self, stream: TcpStream, address: SocketAddr) -> Option<Over> {
        // Small answers must not wait for more bytes; a socket that refuses still works.
        let _nodelay = stream.set_nodelay(true);
        // The configuration is taken now, at the handshake: a revoked authority counts at once.
        let acceptor = TlsAcceptor::from(self.tls.current());
        let mut stop = self.stop.clone();
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
        let stream = tokio::select! {
            done = handshake => match done {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    self.handshake_failed(&error, address);
                    return None;
                }
                Err(_) => return Some(Over::Silent),
            },
            over = self.pace.over() => return Some(over),
            () = stopped(&mut stop) => return None,
        };
        let certificate = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(|leaf| Arc::new(CertificateNames::of(leaf)));
        let peer = Peer { address, certificate };
        self.protocol.serve(stream, peer, self.pace, self.stop).await
    }
}

/// HTTP/1.1 and 2.
pub struct Http(pub Router);

impl Protocol for Http {
    fn serve(
        self: Arc<Self>,
        stream: TlsStream<TcpStream>,
        peer: Peer,
        pace: Arc<Pace>,
        stop: watch::Receiver<bool>,
    ) -> Served {
        Box::pin(requests(self.0.clone(), stream, peer, pace, stop))
    }
}

async fn requests(
    router: Router,
    stream: TlsStream<TcpStream>,
    peer: Peer,
    pace: Arc<Pace>,
    mut stop: watch::Receiver<bool>,
) -> Option<Over> {
    let service = tower::service_fn({
        let pace = pace.clone();
        move |request: Request<_>| answer(router.clone(), pace.clone(), peer.clone(), request)
    });
    let builder = builder(pace.times());
    let connection = builder.serve_connection(
        TokioIo::new(Heads::new(stream, pace.clone())),
        TowerToHyperService::new(service),
    );
    tokio::pin!(connection);
    let over = tokio::select! {
        ended = connection.as_mut() => {
            if ended.is_err() {
                tracing::debug!(event = "connection-ended-early");
            }
            return None;
        }
        over = pace.over() => over,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            // While it ends, its timeouts keep running.
            tokio::select! {
                _ = connection.as_mut() => return None,
                over = pace.over() => over,
            }
        }
    };
    if over == Over::Idle {
        // A request that is on its way just now may still come.
        connection.as_mut().graceful_shutdown();
        let _ended = tokio::time::timeout(CLOSING, connection).await;
    }
    Some(over)
}

/// Nothing is borrowed from the channel afterwards.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _gone_is_stopped_too = stop.wait_for(|stop| *stop).await;
}

fn builder(times: Times) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // The library counts from the last answer on; the first request has `Pace`'s time.
        .header_read_timeout(times.idle)
        // Without it the library copies answers, and nobody knows when they are taken.
        .writev(true)
        .max_buf_size(HEADER_BYTES_MAX * 4);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_PING)
        .keep_alive_timeout(H2_PING)
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_concurrent_streams(H2_STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX as u32);
    builder
}

/// One request, and its answer as it is watched on its way.
async fn answer<B>(
    router: Router,
    pace: Arc<Pace>,
    peer: Peer,
    request: Request<B>,
) -> Result<Response, std::convert::Infallible>
where
    B: axum::body::HttpBody<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    let open = pace.open();
    let closes = open.bare && request.version() < Version::HTTP_2;
    let refused = shape::refused(&request);
    let (mut head, body) = request.into_parts();
    let body = lingering(&head.headers, Body::new(body));
    let mut response = match refused {
        Some(refused) => refused,
        None => {
            head.extensions.insert(peer);
            router.oneshot(Request::from_parts(head, body)).await?
        }
    };
    if closes {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(open.answer(response))
}
