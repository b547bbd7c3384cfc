//! Kafka's wire protocol: bytes to messages and back, without I/O, clock or randomness.
//!
//! This crate reads what strangers wrote, also before they are known. So a length or a count that they give is held
//! to the bytes that are there before anything is allocated, what a batch inflates to has a cap, depth is that of the
//! tables, and whatever is wrong is an error, never a panic. What policy does not need to see stays bytes, and
//! messages are rewritten by copying what is left unchanged.
//!
//! Types that hold content have no `Debug`, and errors name a field, never its value.

pub mod batch;
pub mod codes;
pub mod compress;
mod frame;
mod read;
mod rewrite;
pub mod sasl;
mod schema;
#[rustfmt::skip]
mod tables;
mod write;

pub use frame::{Header, frame_length, request_header, response_header};
pub use read::{List, Malformed, Node, View, What};
pub use rewrite::{Change, rewrite, rewrite_known};
pub use schema::{Api, Direction, Entity, Field, Kind, Layout, Unset, Versions};
pub use tables::{APIS, Key, Name, RELEASE};
pub use write::{Unwritable, Value};
