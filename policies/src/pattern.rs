//! Names with a `*` at their end, as Kafka's prefixed resource patterns are.

use std::sync::Arc;

/// A whole name, or the beginning of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    Whole(Arc<str>),
    Prefix(Arc<str>),
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (pattern, name): (fn(Arc<str>) -> Self, _) = match text.strip_suffix('*') {
            Some(prefix) => (Self::Prefix, prefix),
            None if text.is_empty() => return None,
            None => (Self::Whole, text),
        };
        (!name.contains('*')).then(|| pattern(Arc::from(name)))
    }

    pub(crate) fn fits(&self, name: &str) -> bool {
        match self {
            Self::Whole(whole) => **whole == *name,
            Self::Prefix(prefix) => name.starts_with(&**prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_the_rest_and_for_nothing_else() {
        let fits = |pattern: &str, name| Pattern::parse(pattern).unwrap().fits(name);
        assert!(fits("billing", "billing") && !fits("billing", "billing-2"));
        assert!(fits("billing-*", "billing-2") && fits("billing-*", "billing-"));
        assert!(!fits("billing-*", "billing") && !fits("billing-*", "x-billing-2"));
        assert!(fits("*", "anything"));
        for refused in ["", "**", "a*b", "*a"] {
            assert_eq!(Pattern::parse(refused), None, "{refused}");
        }
    }
}
