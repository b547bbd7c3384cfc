//! Random messages, and messages as JSON in the way of Kafka's own converters.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Map, json};
use sluicegate_wire::{
    APIS, Api, Direction, Field, Kind, Layout, Name, Node, Unset, Value, Versions, View,
};

pub(crate) type Fields = Vec<(Name, Value<'static>)>;

/// SplitMix64: the same seed, the same messages.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn bytes(&mut self, most: u64) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.next() as u8).collect()
    }

    fn text(&mut self) -> String {
        let letters = ['a', 'Z', '0', '_', '.', ' ', '"', 'ä', '€', '𝄞'];
        // Now and then one whose length takes two bytes.
        let most = if self.below(20) == 0 { 200 } else { 8 };
        (0..self.below(most)).map(|_| letters[self.below(10) as usize]).collect()
    }

    /// A number of so many bits, often near an end.
    fn int(&mut self, bits: u32) -> i64 {
        let (least, most) = (-1_i64 << (bits - 1), (1_i64 << (bits - 2)) * 2 - 1);
        match self.below(6) {
            0 => least,
            1 => most,
            2 => 0,
            3 => -1,
            _ => self.next().cast_signed() >> (64 - bits),
        }
    }

    /// All fields that the version has.
    pub(crate) fn fields(&mut self, layout: Layout) -> Fields {
        let has = |field: &&Field| field.versions.has(layout.version);
        layout.fields.iter().filter(has).map(|f| (f.name, self.field(layout, f))).collect()
    }

    pub(crate) fn field(&mut self, layout: Layout, field: &Field) -> Value<'static> {
        if field.nullable.has(layout.version) && self.below(4) == 0 {
            return Value::Null;
        }
        if field.tag.is_some() && self.below(3) == 0 {
            return unset(field);
        }
        self.value(layout, field.kind)
    }

    fn value(&mut self, layout: Layout, kind: Kind) -> Value<'static> {
        match kind {
            Kind::Bool => Value::Bool(self.below(2) == 0),
            Kind::I8 => Value::Int(self.int(8)),
            Kind::I16 => Value::Int(self.int(16)),
            Kind::U16 => Value::Int(self.int(16) & 0xffff),
            Kind::I32 => Value::Int(self.int(32)),
            Kind::I64 => Value::Int(self.int(63)),
            // Both sides write such numbers alike.
            Kind::F64 => Value::Float(self.int(10) as f64 + 0.5),
            Kind::Uuid => Value::Uuid([(); 16].map(|()| self.next() as u8)),
            Kind::Str => Value::Str(self.text().into()),
            Kind::Bytes | Kind::Records => Value::Bytes(self.bytes(40).into()),
            Kind::Struct(fields) => Value::Struct(self.fields(Layout { fields, ..layout })),
            Kind::List(element) => {
                let count = if self.below(20) == 0 { 150 } else { self.below(4) };
                Value::List((0..count).map(|_| self.value(layout, *element)).collect())
            }
            Kind::Structs(fields) => {
                let count = if self.below(60) == 0 { 130 } else { self.below(4) };
                let layout = Layout { fields, ..layout };
                Value::List((0..count).map(|_| Value::Struct(self.fields(layout))).collect())
            }
        }
    }
}

/// What a field has that nobody set.
pub(crate) fn unset(field: &Field) -> Value<'static> {
    match (field.unset, field.kind) {
        (Unset::Null, _) => Value::Null,
        (Unset::Int(n), Kind::Bool) => Value::Bool(n != 0),
        (_, Kind::F64) => Value::Float(0.0),
        (_, Kind::Uuid) => Value::Uuid([0; 16]),
        (_, Kind::Str) => Value::Str("".into()),
        (_, Kind::Bytes | Kind::Records) => Value::Bytes(Vec::new().into()),
        (_, Kind::Struct(_)) => Value::Struct(Vec::new()),
        (_, Kind::List(_) | Kind::Structs(_)) => Value::List(Vec::new()),
        (Unset::Int(n), _) => Value::Int(n),
    }
}

/// A message of every API, version and direction, so many of each.
pub(crate) fn each(
    count: u64,
    mut check: impl FnMut(&'static Api, Direction, Layout, &mut Random),
) {
    let seed = std::env::var("SLUICEGATE_TEST_SEED").map_or(1, |seed| seed.parse().unwrap());
    println!("seed {seed}");
    let mut random = Random(seed);
    for api in APIS {
        let Versions(first, last) = api.versions;
        for version in first..=last {
            for direction in [Direction::Request, Direction::Response] {
                let layout = api.layout(direction, version).unwrap();
                for _ in 0..count {
                    check(api, direction, layout, &mut random);
                }
            }
        }
    }
}

pub(crate) fn written(layout: Layout, set: &[(Name, Value<'_>)]) -> Vec<u8> {
    let mut out = Vec::new();
    layout.write(set, &mut out).unwrap();
    out
}

/// All that a reader can see of a struct.
pub(crate) fn read(view: View<'_>) -> Fields {
    let layout = view.layout();
    let has = |field: &&Field| field.versions.has(layout.version);
    let all = layout.fields.iter().filter(has);
    all.map(|field| (field.name, value(view.get(field.name).unwrap()))).collect()
}

fn value(node: Node<'_>) -> Value<'static> {
    match node {
        Node::Null => Value::Null,
        Node::Bool(value) => Value::Bool(value),
        Node::Int(value) => Value::Int(value),
        Node::Float(value) => Value::Float(value),
        Node::Uuid(value) => Value::Uuid(value),
        Node::Str(value) => Value::Str(value.to_owned().into()),
        Node::Bytes(value) => Value::Bytes(value.to_owned().into()),
        Node::Struct(view) => Value::Struct(read(view)),
        Node::List(list) => {
            let values: Vec<_> = list.nodes().map(|node| value(node.unwrap())).collect();
            assert_eq!(values.len(), list.len());
            Value::List(values)
        }
    }
}

fn camel(name: Name) -> String {
    let name = format!("{name:?}");
    name[..1].to_lowercase() + &name[1..]
}

/// In the way of Kafka's converters: tagged fields only if they are set. With `sizes`, records by their size alone, as
/// the converters write them; without, as they read them.
pub(crate) fn json(layout: Layout, set: &Fields, sizes: bool) -> serde_json::Value {
    let mut object = Map::new();
    for (name, value) in set {
        let field = layout.fields.iter().find(|field| field.name == *name).unwrap();
        if field.tag.is_some() && is_unset(layout, field, value) {
            continue;
        }
        let mut key = camel(*name);
        let value = match (field.kind, value) {
            (Kind::Records, Value::Bytes(bytes)) if sizes => json!(bytes.len()),
            _ => json_value(layout, field.kind, value, sizes),
        };
        if sizes && matches!(field.kind, Kind::Records) && !value.is_null() {
            key.push_str("SizeInBytes");
        }
        object.insert(key, value);
    }
    object.into()
}

fn json_value(layout: Layout, kind: Kind, value: &Value<'_>, sizes: bool) -> serde_json::Value {
    match (kind, value) {
        (_, Value::Null) => json!(null),
        (_, Value::Bool(value)) => json!(value),
        (_, Value::Int(value)) => json!(value),
        (_, Value::Float(value)) => json!(value),
        (_, Value::Uuid(value)) => json!(URL_SAFE_NO_PAD.encode(value)),
        (_, Value::Str(value)) => json!(value),
        (_, Value::Bytes(value)) => json!(STANDARD.encode(value)),
        (Kind::Struct(fields) | Kind::Structs(fields), Value::Struct(set)) => {
            json(Layout { fields, ..layout }, &owned(set), sizes)
        }
        (kind, Value::List(values)) => {
            let kind = if let Kind::List(element) = kind { *element } else { kind };
            values.iter().map(|value| json_value(layout, kind, value, sizes)).collect()
        }
        _ => panic!("a value of another kind"),
    }
}

fn owned(set: &[(Name, Value<'_>)]) -> Fields {
    set.iter().map(|(name, value)| (*name, to_owned(value))).collect()
}

pub(crate) fn to_owned(value: &Value<'_>) -> Value<'static> {
    match value {
        Value::Null => Value::Null,
        Value::Bool(value) => Value::Bool(*value),
        Value::Int(value) => Value::Int(*value),
        Value::Float(value) => Value::Float(*value),
        Value::Uuid(value) => Value::Uuid(*value),
        Value::Str(value) => Value::Str(value.to_string().into()),
        Value::Bytes(value) => Value::Bytes(value.to_vec().into()),
        Value::Struct(set) => Value::Struct(owned(set)),
        Value::List(values) => Value::List(values.iter().map(to_owned).collect()),
    }
}

pub(crate) fn is_unset(layout: Layout, field: &Field, value: &Value<'_>) -> bool {
    match (field.kind, value) {
        (Kind::Struct(fields), Value::Struct(set)) => {
            let inside = |name| fields.iter().find(|field| field.name == name).unwrap();
            let layout = Layout { fields, ..layout };
            field.unset != Unset::Null
                && set.iter().all(|(name, value)| is_unset(layout, inside(*name), value))
        }
        (kind, value) => {
            json_value(layout, kind, value, false) == json_value(layout, kind, &unset(field), false)
        }
    }
}
