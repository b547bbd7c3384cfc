//! JSON objects whose names may occur once only.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};

/// The members of an object in order, `MAX` at most; a name that comes twice is refused.
pub struct Members<V, const MAX: usize>(pub Vec<(String, V)>);

impl<'de, V: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Members<V, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Visit(PhantomData))
    }
}

struct Visit<V, const MAX: usize>(PhantomData<V>);

impl<'de, V: Deserialize<'de>, const MAX: usize> Visitor<'de> for Visit<V, MAX> {
    type Value = Members<V, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut members: Vec<(String, V)> = Vec::new();
        while let Some(member) = map.next_entry()? {
            if members.len() == MAX {
                return Err(M::Error::custom("too many members"));
            }
            members.push(member);
        }
        let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if names.array_windows().any(|[one, next]| one == next) {
            return Err(M::Error::custom("a name occurs twice"));
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_once_in_order_and_not_too_many() {
        let read = |text| serde_json::from_str::<Members<u8, 3>>(text).map(|m| m.0).ok();
        let ordered = |names: &[&str]| names.iter().map(|n| ((*n).to_owned(), 1)).collect();
        assert_eq!(read(r#"{"b":1,"a":1,"c":1}"#), Some(ordered(&["b", "a", "c"])));
        for refused in [r#"{"a":1,"b":1,"a":1}"#, r#"{"a":1,"\u0061":1}"#, "[]"] {
            assert_eq!(read(refused), None, "{refused}");
        }
        assert_eq!(read(r#"{"a":1,"b":1,"c":1,"d":1}"#), None);
    }
}
