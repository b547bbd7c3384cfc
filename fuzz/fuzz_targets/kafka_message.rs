//! Any bytes as the body of any message: whatever is read can be read again in all its parts, and rewritten into
//! something that can be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate_wire::{APIS, Change, Direction, Node, Value, View, rewrite};

fn walk(view: View<'_>) -> usize {
    let layout = view.layout();
    let mut seen = 0;
    for field in layout.fields {
        seen += 1 + match view.get(field.name).expect("what was parsed") {
            Node::Struct(inside) => walk(inside),
            Node::List(list) => list
                .nodes()
                .map(|node| match node.expect("what was parsed") {
                    Node::Struct(inside) => walk(inside),
                    _ => 1,
                })
                .sum(),
            _ => 0,
        };
    }
    seen
}

fuzz_target!(|data: &[u8]| {
    let Some(([api, version, direction, fates], body)) = data.split_first_chunk() else { return };
    let api = &APIS[usize::from(*api) % APIS.len()];
    let direction = [Direction::Request, Direction::Response][usize::from(direction & 1)];
    let Some(layout) = api.layout(direction, i16::from(version % 20)) else { return };
    let Ok(view) = layout.parse(body) else { return };
    walk(view);
    assert!(rewrite(view, |_| Ok(Change::Keep)).is_ok_and(|same| same.is_none()));
    let mut fate = u32::from(*fates) | 0x1_0000;
    let changed = rewrite(view, |view| {
        fate = fate.wrapping_mul(0x9e37_79b1) >> 3 ^ fate;
        Ok(match fate % 5 {
            0 => Change::Remove,
            1 => Change::Set(
                view.layout().fields.iter().take(4).map(|field| (field.name, Value::Null)).collect(),
            ),
            _ => Change::Keep,
        })
    });
    if let Ok(Some(changed)) = changed {
        walk(layout.parse(&changed).expect("what we wrote"));
    }
});
