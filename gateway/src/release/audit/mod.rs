//! Whether a release keeps its promise, asked of the bytes it publishes.

mod lint;
