//! YAML as the policy language allows it: a tree of located nodes, checked against the schema of
//! its kind, then read into types. Anchors, aliases, tags and merge keys are not part of it.

mod decode;
mod shape;
mod tree;

pub(crate) use decode::decode;
pub(crate) use shape::Shape;
pub(crate) use tree::{Content, Node, documents};
