//! The way in: TLS listeners, and the HTTP face behind them.

pub mod accept;
pub mod admission;
pub mod body;
pub mod http;
pub mod linger;
pub mod problem;
pub mod tls;
