//! The way in: TLS listeners, and the HTTP endpoints behind them.

pub mod accept;
pub mod admission;
pub mod body;
pub mod expiry;
pub mod head;
pub mod http;
pub mod linger;
pub mod pace;
pub mod places;
pub mod problem;
pub mod shape;
pub mod tls;
