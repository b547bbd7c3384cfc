//! Interned names, sets of them, and spans of time.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    diagnostic::Findings,
    source::{Span, Text},
};

/// A dense number for a name of one kind, in one model.
pub(crate) type Id = usize;

/// The names of one kind, in the order they were declared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    ids: BTreeMap<Arc<str>, Id>,
    list: Vec<(Arc<str>, Span)>,
}

impl Names {
    /// A new name; or where it is already.
    pub(crate) fn insert(&mut self, name: &str, span: Span) -> Result<Id, Span> {
        if let Some(id) = self.id(name) {
            return Err(self.span(id));
        }
        let (id, name): (Id, Arc<str>) = (self.list.len(), name.into());
        self.ids.insert(name.clone(), id);
        self.list.push((name, span));
        Ok(id)
    }

    /// A new name, reported when it is not new.
    pub(crate) fn declare(
        &mut self,
        name: &Text,
        what: &str,
        findings: &mut Findings<'_>,
    ) -> Option<Id> {
        let declared = self.insert(&name.value, name.span);
        if let Err(first) = declared {
            findings
                .error(name.span, format!("the {what} `{}` is declared twice", name.value))
                .related(first, "it is declared here already");
        }
        declared.ok()
    }

    /// The number of a name, reported when it is not declared.
    pub(crate) fn find(&self, name: &Text, what: &str, findings: &mut Findings<'_>) -> Option<Id> {
        let found = self.id(&name.value);
        if found.is_none() {
            let otherwise = match self.list.len() {
                0 => format!("no {what} is declared yet"),
                1..=8 => {
                    let all: Vec<_> = self.iter().map(|n| format!("`{n}`")).collect();
                    format!("known: {}", all.join(", "))
                }
                _ => format!("declare the {what} first, or use a declared one"),
            };
            findings
                .error(name.span, format!("the {what} `{}` is not declared", name.value))
                .did_you_mean(&name.value, self.iter().map(|n| &**n), &otherwise);
        }
        found
    }

    pub(crate) fn find_all(
        &self,
        names: &[Text],
        what: &str,
        findings: &mut Findings<'_>,
    ) -> Vec<Id> {
        names.iter().filter_map(|n| self.find(n, what, findings)).collect()
    }

    pub(crate) fn id(&self, name: &str) -> Option<Id> {
        self.ids.get(name).copied()
    }

    pub(crate) fn name(&self, id: Id) -> Arc<str> {
        self.list.get(id).map_or_else(|| "?".into(), |(n, _)| n.clone())
    }

    pub(crate) fn span(&self, id: Id) -> Span {
        self.list.get(id).map(|(_, s)| *s).unwrap_or_default()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        self.list.iter().map(|(n, _)| n)
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn ids(&self) -> std::ops::Range<Id> {
        0..self.list.len()
    }
}

/// A set of ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Set(Vec<bool>);

impl Set {
    pub(crate) fn of(ids: impl IntoIterator<Item = Id>) -> Self {
        let mut set = Self::default();
        ids.into_iter().for_each(|id| set.insert(id));
        set
    }

    pub(crate) fn insert(&mut self, id: Id) {
        if self.0.len() <= id {
            self.0.resize(id + 1, false);
        }
        if let Some(slot) = self.0.get_mut(id) {
            *slot = true;
        }
    }

    pub(crate) fn contains(&self, id: Id) -> bool {
        self.0.get(id).copied().unwrap_or(false)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Id> {
        self.0.iter().enumerate().filter(|(_, in_it)| **in_it).map(|(id, _)| id)
    }
}

/// A forest: every id with itself and all that is above it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forest(Vec<Vec<Id>>);

impl Forest {
    /// From each id's parent. A circle is broken where it closes, and its ids are returned.
    pub(crate) fn new(parents: &[Option<Id>]) -> (Self, Vec<Id>) {
        let mut circles = Vec::new();
        let mut lines = Vec::new();
        for id in 0..parents.len() {
            let mut line = vec![id];
            let mut at = parents.get(id).copied().flatten();
            while let Some(up) = at {
                if line.contains(&up) {
                    circles.push(id);
                    break;
                }
                line.push(up);
                at = parents.get(up).copied().flatten();
            }
            lines.push(line);
        }
        (Self(lines), circles)
    }

    /// Whether `upper` is `lower` or above it.
    pub(crate) fn covers(&self, upper: Id, lower: Id) -> bool {
        self.0.get(lower).is_some_and(|line| line.contains(&upper))
    }

    /// The named ids and everything under them.
    pub(crate) fn under(&self, named: &[Id]) -> Set {
        Set::of((0..self.0.len()).filter(|id| named.iter().any(|n| self.covers(*n, *id))))
    }

    /// The named ids, everything under them and everything above them: what could hold it.
    pub(crate) fn around(&self, named: &[Id]) -> Set {
        let touches = |n: Id, id: Id| self.covers(n, id) || self.covers(id, n);
        Set::of((0..self.0.len()).filter(|id| named.iter().any(|n| touches(*n, *id))))
    }
}

/// A half-open span of time, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: i64,
    pub(crate) until: i64,
}

impl Window {
    pub(crate) const ALWAYS: Self = Self { from: i64::MIN, until: i64::MAX };

    pub(crate) fn contains(self, at: i64) -> bool {
        self.from <= at && at < self.until
    }

    /// The moments at which something changes.
    pub(crate) fn edges(self) -> impl Iterator<Item = i64> {
        [self.from, self.until].into_iter().filter(|t| *t != i64::MIN && *t != i64::MAX)
    }
}
