//! The bundle with all names looked up: what the compiler works on. Nothing in here depends on
//! the time; rules keep their windows.

mod domain;
mod names;
mod release;
mod resolve;
mod resolve_randomize;
mod resolve_rules;
mod resolve_tests;
mod resolve_transform;

pub(crate) use resolve_transform::{order, transform_word};

use std::{collections::BTreeMap, sync::Arc};

pub(crate) use names::{Forest, Id, Names, Set, Window};
pub(crate) use release::{Budget, ReleaseFacts};
pub(crate) use resolve::resolve;

use crate::{
    document::{IfBlocked, Mode, Scope, TestSpec},
    network::Network,
    pattern::Pattern,
    plan::{
        EventTime, Evidence, FieldPath, Normalizer, OnInvalid, Records, RuleName, Transform,
        Unlisted,
    },
    source::{Located, Span},
};

#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) categories: Names,
    pub(crate) category_tree: Forest,
    pub(crate) purposes: Names,
    pub(crate) purpose_tree: Forest,
    pub(crate) recipients: Names,
    pub(crate) subjects: Names,
    pub(crate) principals: Names,
    pub(crate) principal_facts: Vec<PrincipalFacts>,
    pub(crate) jurisdictions: Names,
    /// Codes, names and aliases in lower case.
    pub(crate) spellings: BTreeMap<String, Id>,
    pub(crate) groups: Names,
    pub(crate) members: Vec<Vec<Membership>>,
    pub(crate) regions: Names,
    pub(crate) region_facts: Vec<RegionFacts>,
    pub(crate) domains: Names,
    pub(crate) domain_facts: Vec<DomainFacts>,
    pub(crate) datasets: Names,
    pub(crate) dataset_facts: Vec<DatasetFacts>,
    pub(crate) topics: BTreeMap<Arc<str>, (Id, Span)>,
    pub(crate) rules: Names,
    pub(crate) heads: Vec<Head>,
    pub(crate) access: Vec<Access>,
    pub(crate) protection: Vec<Protection>,
    pub(crate) transfer: Vec<TransferFacts>,
    /// By name.
    pub(crate) releases: Vec<ReleaseFacts>,
    pub(crate) tests: Vec<Test>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct PrincipalFacts {
    pub(crate) member_of: Vec<Id>,
    pub(crate) jurisdiction: Option<Id>,
    pub(crate) groups: Vec<Pattern>,
    pub(crate) transactional_ids: Vec<Pattern>,
    /// None: from anywhere.
    pub(crate) networks: Option<Vec<Network>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Membership {
    pub(crate) jurisdiction: Id,
    pub(crate) window: Window,
    pub(crate) source: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
pub(crate) struct RegionFacts {
    pub(crate) jurisdiction: Id,
    pub(crate) recipient: Id,
    pub(crate) home: Places,
}

/// Codes and groups, as a list of dated memberships.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(pub(crate) Vec<(Id, Window)>);

impl Places {
    pub(crate) fn contains(&self, jurisdiction: Id, at: i64) -> bool {
        self.0.iter().any(|(j, w)| *j == jurisdiction && w.contains(at))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct DomainFacts {
    pub(crate) normalizer: Normalizer,
    pub(crate) scope: Scope,
    pub(crate) epoch: u32,
    pub(crate) key: Arc<str>,
    /// How often the epoch is raised, in milliseconds.
    pub(crate) rotation: Option<(i64, Span)>,
}

#[derive(Clone, Debug)]
pub(crate) struct DatasetFacts {
    pub(crate) topics: Vec<Arc<str>>,
    pub(crate) subjects: Vec<Id>,
    pub(crate) fields: Vec<FieldFacts>,
    pub(crate) unlisted: Unlisted,
    /// Words of the format, sorted, each once.
    pub(crate) names: Box<[Arc<str>]>,
    pub(crate) jurisdiction: JurisdictionFacts,
    /// `home` is among them as `None`.
    pub(crate) deliver_to: Vec<Option<Id>>,
    pub(crate) if_blocked: IfBlocked,
    pub(crate) lineage: Vec<(Arc<str>, FieldPath)>,
    pub(crate) on_invalid: OnInvalid,
    pub(crate) event_time: Option<EventTime>,
    pub(crate) records: Records,
    pub(crate) evidence: Evidence,
    pub(crate) stubs: bool,
    /// What all releases of the dataset may cost a unit in a period together.
    pub(crate) privacy_budget: Option<(Budget, Span)>,
    /// For the dataset of a release: the categories that it shows something of.
    pub(crate) released: Option<Vec<Id>>,
}

#[derive(Clone, Debug)]
pub(crate) struct FieldFacts {
    pub(crate) path: FieldPath,
    pub(crate) category: Id,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum JurisdictionFacts {
    Field(FieldPath),
    Principal,
    Fixed(Id),
}

/// What all rules have.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) name: RuleName,
    pub(crate) span: Span,
    pub(crate) because: Arc<str>,
    pub(crate) window: Window,
    pub(crate) mode: Mode,
    pub(crate) cited: bool,
}

impl Head {
    pub(crate) fn in_force(&self, at: i64) -> bool {
        self.mode == Mode::Enforce && self.window.contains(at)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) rule: Id,
    pub(crate) allows: bool,
    /// Principals, teams resolved.
    pub(crate) who: Set,
    pub(crate) publish: bool,
    pub(crate) read: bool,
    pub(crate) datasets: Set,
    pub(crate) purposes: Set,
}

#[derive(Clone, Debug)]
pub(crate) struct Protection {
    pub(crate) rule: Id,
    pub(crate) categories: Option<Set>,
    pub(crate) datasets: Option<Set>,
    pub(crate) subjects: Option<Set>,
    pub(crate) subject_region: Option<Places>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) otherwise: Template,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) purposes: Option<Set>,
    pub(crate) recipients: Option<Set>,
    pub(crate) template: Template,
    pub(crate) span: Span,
}

/// A transform whose token scope is not known before purpose, recipient and subject are.
#[derive(Clone, Debug)]
pub(crate) enum Template {
    Fixed(Transform),
    Tokenize { domain: Id, scope: Scope },
}

#[derive(Clone, Debug)]
pub(crate) struct TransferFacts {
    pub(crate) rule: Id,
    pub(crate) from: Places,
    pub(crate) to: Places,
    /// None: all.
    pub(crate) categories: Option<Set>,
    /// None: all.
    pub(crate) recipients: Option<Set>,
    /// None: the rule denies.
    pub(crate) mechanism: Option<MechanismFacts>,
}

#[derive(Clone, Debug)]
pub(crate) struct MechanismFacts {
    pub(crate) text: Arc<str>,
    /// The adequacy list the destination must be on.
    pub(crate) list: Option<Id>,
    pub(crate) expires: i64,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct Test {
    pub(crate) name: Arc<str>,
    pub(crate) span: Span,
    pub(crate) spec: Located<TestSpec>,
}
