//! The Kafka interface for services: a region's cluster under addresses of ours. Its requests take the same stages as
//! those of the HTTP interface.

mod acknowledge;
mod answers;
mod authorize;
mod ends;
mod fetch;
mod homeward;
mod login;
mod metadata;
mod produce;
mod records;
mod session;
mod versions;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sluicegate_wire::{Malformed, Name, View};
use tokio::{net::TcpStream, sync::watch};
use tokio_rustls::server::TlsStream;

use self::{
    acknowledge::Recent,
    authorize::Place,
    ends::Ends,
    homeward::{Kept, Shapes},
    session::Wires,
};
use super::{
    Desk,
    accept::{Peer, Protocol, Served, stopped},
    pace::{Pace, Times},
};
use crate::{
    config::{self, Limits},
    deliver::kafka::Cluster,
};

/// A region's cluster as clients reach it.
pub struct Face {
    pub region: Arc<str>,
    pub config: config::KafkaFace,
    pub cluster: Arc<Cluster>,
    pub desk: Arc<Desk>,
    /// The principals that may make and remove topics.
    pub managers: Vec<Arc<str>>,
    recent: Recent,
    ends: Ends,
    shapes: Shapes,
    kept: Kept,
    /// Whether it was told that a broker has no place.
    placeless: AtomicBool,
}

impl Face {
    pub fn new(
        region: &str,
        config: config::KafkaFace,
        cluster: Arc<Cluster>,
        desk: Arc<Desk>,
        managers: &[String],
    ) -> Self {
        let managers = managers.iter().map(|name| Arc::from(name.as_str())).collect();
        Self {
            region: Arc::from(region),
            config,
            cluster,
            desk,
            managers,
            recent: Recent::default(),
            ends: Ends::default(),
            shapes: Shapes::default(),
            kept: Kept::default(),
            placeless: AtomicBool::default(),
        }
    }

    /// The place of a broker that an answer names, as clients reach it; nothing for no broker, and for one that has
    /// no place with us: an address of the cluster's never leaves.
    fn place(&self, view: &View<'_>) -> Result<Option<Place>, Malformed> {
        let id = if answers::has(view, Name::NodeId) { Name::NodeId } else { Name::BrokerId };
        let node: i32 = view.int(id)?;
        let Ok(port) = u16::try_from(view.int::<i32>(Name::Port)?) else { return Ok(None) };
        if node < 0 {
            return Ok(None);
        }
        self.cluster.learn_node(node, view.str(Name::Host)?, port);
        let place = self.config.place(node).map(|(host, port)| Place { host, port });
        if place.is_none() && !self.placeless.swap(true, Ordering::Relaxed) {
            let help = "give `brokers.ports` a larger `count`, or a smaller `first-node`";
            tracing::warn!(event = "kafka-broker-without-place", region = %self.region, node, help);
        }
        Ok(place)
    }

    async fn serve(
        self: Arc<Self>,
        node: Option<i32>,
        stream: TlsStream<TcpStream>,
        peer: &Peer,
        pace: Arc<Pace>,
        stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let node = match node {
            Some(node) => Some(node),
            None => self.config.node_of(stream.get_ref().1.server_name()),
        };
        let mut wires = Wires::new(stream, pace);
        let mut stopping = stop.clone();
        let login = tokio::select! {
            login = login::log_in(&self, &mut wires, peer) => login?,
            () = stopped(&mut stopping) => None,
        };
        let Some(login) = login else { return Ok(()) };
        let upstream = self.cluster.connect(node).await?;
        let session = session::Session::new(self, login.who.clone(), peer);
        session.run(wires, upstream, login, stop).await
    }
}

/// One listener of a face: of one broker, or of whichever the client names.
pub struct At {
    pub face: Arc<Face>,
    pub node: Option<i32>,
}

/// Kafka's clients close connections themselves that they have not used for nine minutes.
const IDLE: Duration = Duration::from_secs(10 * 60);

impl Protocol for At {
    fn times(&self, limits: &Limits) -> Times {
        Times { idle: IDLE, ..Times::of(limits) }
    }

    fn serve(
        self: Arc<Self>,
        stream: TlsStream<TcpStream>,
        peer: Peer,
        pace: Arc<Pace>,
        stop: watch::Receiver<bool>,
    ) -> Served {
        Box::pin(async move {
            let region = self.face.region.clone();
            let (node, face) = (self.node, self.face.clone());
            let serving = face.serve(node, stream, &peer, pace.clone(), stop.clone());
            tokio::select! {
                ended = serving => {
                    if let Err(error) = ended {
                        // Words of ours or of the system; what a client sent is not in them.
                        tracing::debug!(event = "kafka-connection-ended", %region, %error);
                    }
                    None
                }
                over = pace.over() => Some(over),
            }
        })
    }
}
