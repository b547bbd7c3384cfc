//! Plans and records for the tests of this module.

mod edges;
mod names;
mod property;
mod randomize;
mod scalars;
mod tokens;

use sluicegate_policies::{
    FieldPath, FieldPlan, Mask, Normalizer, OnInvalid, Part, Plan, Step, TokenUse, Transform,
    Unlisted,
};

use super::*;
use crate::keys::{Master, Masters};

/// The bytes 0 to 31 and 32 to 63; the vectors use the same.
fn keyring() -> Masters {
    let master = |first: u8| Master::new(&std::array::from_fn(|i| first + i as u8));
    [("main".to_owned(), master(0)), ("next".to_owned(), master(32))].into_iter().collect()
}

/// `customer.email`, `items[].sku`, `key:id`, `header:x`, `name:a.*`, `**`.
pub(super) fn path(written: &str) -> FieldPath {
    let (part, steps) = match written.split_once(':') {
        Some(("key", steps)) => (Part::Key, steps),
        Some(("header", name)) => (Part::Header(name.into()), ""),
        Some(("name", steps)) => (Part::Name, steps),
        _ => (Part::Value, written),
    };
    let steps = steps.split('.').filter(|s| !s.is_empty()).flat_map(|s| {
        let name = s.trim_end_matches("[]");
        let first = match name {
            "" => None,
            "*" => Some(Step::AnyMember),
            "**" => Some(Step::AnyDepth),
            name => Some(Step::Member(name.into())),
        };
        first.into_iter().chain((0..(s.len() - name.len()) / 2).map(|_| Step::Each))
    });
    FieldPath { part, steps: steps.collect(), written: written.into() }
}

fn field(written: &str, transform: Transform) -> FieldPlan {
    FieldPlan {
        path: path(written),
        category: "any".into(),
        transform,
        on_invalid: OnInvalid::Drop,
        rules: [Arc::from("the-rule")].into(),
    }
}

fn plan(unlisted: Unlisted, fields: impl IntoIterator<Item = FieldPlan>) -> Plan {
    let (names, rules) = Default::default();
    Plan { fields: fields.into_iter().collect(), unlisted, names, rules }
}

/// The same with names that are words of the format.
fn knowing(names: &[&str], plan: Plan) -> Plan {
    Plan { names: names.iter().map(|name| Arc::from(*name)).collect(), ..plan }
}

fn compile(plan: &Plan) -> Program {
    Program::compile(plan, "acme", &keyring(), &randomness()).unwrap()
}

/// The same draws in each test; the first record of a program is occasion 0.
fn randomness() -> Arc<Randomness> {
    Arc::new(Randomness::from_seed([7; 32]))
}

fn value(bytes: &[u8]) -> RecordRef<'_> {
    RecordRef { key: None, headers: &[], value: bytes }
}

fn token_use() -> TokenUse {
    TokenUse {
        domain: "customer.email".into(),
        scope: "purpose=analytics".into(),
        epoch: 1,
        normalizer: Normalizer::ExactV1,
        key: "main".into(),
    }
}

fn stars() -> Mask {
    Mask { first: 1, last: 1, with: '*', email: false, length: None }
}

/// What is left of a value, as text; a refusal as `refused POINTER CODE`.
fn apply(plan: &Plan, json: &str) -> String {
    let mut out = Protected::default();
    match compile(plan).apply(value(json.as_bytes()), &mut out) {
        Ok(()) => String::from_utf8(out.value).unwrap(),
        Err(r) => {
            assert!(out.value.is_empty() && out.tokens.is_empty(), "a refusal leaves nothing");
            format!("refused {} {}", r.pointer, r.code.as_str())
        }
    }
}
