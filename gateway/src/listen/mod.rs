//! The way in: TLS listeners, and the faces behind them: HTTP, and Kafka's protocol.

pub mod accept;
pub mod admission;
pub mod body;
pub mod expiry;
pub mod head;
pub mod http;
pub mod kafka;
pub mod linger;
pub mod pace;
pub mod places;
pub mod problem;
pub mod shape;
pub mod tls;

use std::{sync::Arc, time::Duration};

use tokio::sync::RwLock;

use self::admission::Admission;
use crate::{
    ambient::Ambient, config::Limits, flow::Flow, identify::Identifier, telemetry::Metrics,
};

/// A failed login is answered after this time, however it failed.
pub(crate) const LOGIN_FAILURE_FLOOR: Duration = Duration::from_millis(100);

/// What all faces share.
pub struct Desk {
    pub flow: Flow,
    pub identifier: Arc<Identifier>,
    pub admission: Admission,
    pub limits: Limits,
    pub ambient: Ambient,
    pub metrics: Arc<Metrics>,
    /// Held, shared, by every publish request that is under way, also when its caller is gone.
    pub under_way: Arc<RwLock<()>>,
}
