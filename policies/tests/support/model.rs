//! A policy as plain data, its spelling in YAML, and a naive interpreter of it.
//!
//! The interpreter reads the rules one by one for every question, shares nothing with the crate,
//! and is what the compiled table is compared with, in meaning and in speed.

use std::fmt::Write as _;

pub(crate) const PRINCIPALS: [&str; 3] = ["p0", "p1", "p2"];
/// `p0` is in `t0`, `p1` in `t0` and `t1`, `p2` in none.
pub(crate) const TEAMS_OF: [&[usize]; 3] = [&[0], &[0, 1], &[]];
/// `u1` lies under `u0`.
pub(crate) const PURPOSES: [&str; 3] = ["u0", "u0.u1", "u2"];
pub(crate) const DATASETS: [&str; 2] = ["d0", "d1"];
/// Fields `f0`… of each dataset, by index into `CATEGORIES`.
pub(crate) const FIELDS: [&[usize]; 2] = [&[1, 2], &[2, 3]];
/// `c.a` and `c.b` lie under `c`.
pub(crate) const CATEGORIES: [&str; 4] = ["c", "c.a", "c.b", "e"];
pub(crate) const JURISDICTIONS: [&str; 3] = ["DE", "FR", "US"];
/// Region `r0` is in DE and is home of DE and FR; `r1` is in US.
pub(crate) const REGIONS: [&str; 2] = ["r0", "r1"];
pub(crate) const HOME_OF: [&[usize]; 2] = [&[0, 1], &[2]];
pub(crate) const DAYS: i64 = 20;
pub(crate) const DAY_MS: i64 = 86_400_000;

#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) allows: bool,
    pub(crate) who: Who,
    pub(crate) read: bool,
    pub(crate) dataset: usize,
    pub(crate) purpose: usize,
    pub(crate) from: Option<i64>,
    pub(crate) until: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    Principal(usize),
    Team(usize),
}

#[derive(Clone, Debug)]
pub(crate) struct Protection {
    pub(crate) category: usize,
    pub(crate) purpose: Option<usize>,
    pub(crate) subject: Option<usize>,
    /// Strength: 0 keep, 1 mask showing two, 2 mask showing none, 3 redact, 4 drop.
    pub(crate) strength: u8,
    pub(crate) from: Option<i64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) allows: bool,
    pub(crate) from: usize,
    pub(crate) category: usize,
    pub(crate) expires: Option<i64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) access: Vec<Access>,
    pub(crate) protection: Vec<Protection>,
    pub(crate) transfer: Vec<Transfer>,
    pub(crate) stay_home: bool,
}

/// What one question comes to: refused, or the strength of each field by region.
pub(crate) type Answer = Option<Vec<(String, Vec<u8>)>>;

/// Ways of being wrong, to show that the comparison notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    None,
    AllowOverridesDeny,
    ExpiredMechanismHolds,
    ParentDoesNotCover,
    WeakerProtectionWins,
}

fn covers(upper: &str, lower: &str, mutant: Mutant) -> bool {
    let under = lower.strip_prefix(upper).is_some_and(|rest| rest.starts_with('.'));
    upper == lower || (under && mutant != Mutant::ParentDoesNotCover)
}

fn holds(from: Option<i64>, until: Option<i64>, day: i64) -> bool {
    from.is_none_or(|f| f <= day) && until.is_none_or(|u| day < u)
}

impl Policy {
    /// Whether a principal may: a ban beats every allowance.
    pub(crate) fn may(
        &self,
        p: usize,
        u: usize,
        read: bool,
        d: usize,
        day: i64,
        m: Mutant,
    ) -> bool {
        let applies = |a: &&Access| {
            let who = match a.who {
                Who::Principal(x) => x == p,
                Who::Team(t) => TEAMS_OF[p].contains(&t),
            };
            let purpose = covers(PURPOSES[a.purpose], PURPOSES[u], m);
            who && purpose && a.read == read && a.dataset == d && holds(a.from, a.until, day)
        };
        let allowed = self.access.iter().filter(applies).any(|a| a.allows);
        let banned = self.access.iter().filter(applies).any(|a| !a.allows);
        allowed && (!banned || m == Mutant::AllowOverridesDeny)
    }

    /// The strength with which a category is protected; no rule: dropped.
    pub(crate) fn strength(&self, c: usize, u: usize, j: usize, day: i64, m: Mutant) -> u8 {
        let applies = self.protection.iter().filter(|r| {
            covers(CATEGORIES[r.category], CATEGORIES[c], m)
                && r.subject.is_none_or(|s| s == j)
                && holds(r.from, None, day)
        });
        let said = applies.map(|r| match r.purpose {
            Some(p) if !covers(PURPOSES[p], PURPOSES[u], m) => 4,
            _ => r.strength,
        });
        let chosen = if m == Mutant::WeakerProtectionWins { said.min() } else { said.max() };
        chosen.unwrap_or(4)
    }

    fn may_transfer(&self, carried: &[usize], j: usize, day: i64, m: Mutant) -> bool {
        let banned = self.transfer.iter().filter(|t| !t.allows && t.from == j).any(|t| {
            let (ban, any) = (CATEGORIES[t.category], Mutant::None);
            carried
                .iter()
                .any(|c| covers(ban, CATEGORIES[*c], any) || covers(CATEGORIES[*c], ban, any))
        });
        let allowed = self.transfer.iter().filter(|t| t.allows && t.from == j).any(|t| {
            let fresh = m == Mutant::ExpiredMechanismHolds || holds(None, t.expires, day);
            fresh && carried.iter().all(|c| covers(CATEGORIES[t.category], CATEGORIES[*c], m))
        });
        allowed && !banned
    }

    /// Publishing: where a record goes, and how strongly each field is protected there.
    pub(crate) fn publish(
        &self,
        p: usize,
        u: usize,
        d: usize,
        j: usize,
        day: i64,
        m: Mutant,
    ) -> Answer {
        if !self.may(p, u, false, d, day, m) {
            return None;
        }
        let fields: Vec<u8> = FIELDS[d].iter().map(|c| self.strength(*c, u, j, day, m)).collect();
        let carried: Vec<usize> =
            FIELDS[d].iter().zip(&fields).filter(|(_, s)| **s < 3).map(|(c, _)| *c).collect();
        let mut to = Vec::new();
        for (r, region) in REGIONS.iter().enumerate() {
            let home = HOME_OF[r].contains(&j);
            if home || self.may_transfer(&carried, j, day, m) && r == 1 {
                to.push(((*region).to_owned(), fields.clone()));
            } else if r == 1 && !self.stay_home {
                return None;
            }
        }
        Some(to)
    }

    /// The same policy as an author would write it.
    pub(crate) fn yaml(&self) -> String {
        let mut out = VOCABULARY.to_owned();
        let stay = if self.stay_home { "stay-home" } else { "refuse" };
        for (d, name) in DATASETS.iter().enumerate() {
            let fields: Vec<_> = FIELDS[d]
                .iter()
                .enumerate()
                .map(|(i, c)| format!("f{i}: {}", CATEGORIES[*c]))
                .collect();
            let _ = write!(
                out,
                "---\napiVersion: sluicegate/v1\nkind: Dataset\nmetadata: {{ name: {name} }}\ntopics: [{name}]\nfields: {{ {} }}\njurisdiction: {{ field: j }}\ndeliver-to: [home, r1]\nif-blocked: {stay}\n",
                fields.join(", ")
            );
        }
        for (i, a) in self.access.iter().enumerate() {
            let who = match a.who {
                Who::Principal(p) => PRINCIPALS[p].to_owned(),
                Who::Team(t) => format!("t{t}"),
            };
            let may = if a.allows { "may" } else { "may-not" };
            let op = if a.read { "read" } else { "publish" };
            let _ = write!(
                out,
                "{}effective: {{ {} }}\nwho: [{who}]\n{may}: [{op}]\ndatasets: [{}]\npurposes: [{}]\n",
                head("AccessRule", "a", i),
                dates(a.from, a.until),
                DATASETS[a.dataset],
                PURPOSES[a.purpose]
            );
        }
        for (i, r) in self.protection.iter().enumerate() {
            let region = r.subject.map(|s| format!(", subject-region: [{}]", JURISDICTIONS[s]));
            let purpose = r.purpose.map(|p| format!("for: {{ purposes: [{}] }}, ", PURPOSES[p]));
            let form = ["keep", "mask, with: { first: 2 }", "mask", "redact", "drop"]
                [usize::from(r.strength)];
            let _ = write!(
                out,
                "{}effective: {{ {} }}\napplies-to: {{ categories: [{}]{} }}\nprotect: [{{ {}as: {form} }}]\n",
                head("ProtectionRule", "p", i),
                dates(r.from, None),
                CATEGORIES[r.category],
                region.unwrap_or_default(),
                purpose.unwrap_or_default()
            );
        }
        for (i, t) in self.transfer.iter().enumerate() {
            let category = CATEGORIES[t.category];
            let body = if t.allows {
                let expires = t.expires.map(|e| format!(", expires: {}", day_text(e)));
                format!(
                    "allow: {{ categories: [{category}], recipients: [o1], mechanism: {{ type: dpf, importer: X{} }} }}",
                    expires.unwrap_or_default()
                )
            } else {
                format!("deny: {{ categories: [{category}] }}")
            };
            let _ = write!(
                out,
                "{}from: [{}]\nto: [US]\n{body}\n",
                head("TransferRule", "t", i),
                JURISDICTIONS[t.from]
            );
        }
        out
    }
}

const VOCABULARY: &str = "\
apiVersion: sluicegate/v1
kind: Vocabulary
metadata: { name: words }
categories: [{ id: c.a }, { id: c.b }, { id: e }]
recipients: [{ id: t0 }, { id: t1 }, { id: o0 }, { id: o1 }]
principals: [{ id: p0, member-of: [t0] }, { id: p1, member-of: [t0, t1] }, { id: p2 }]
jurisdictions: [{ code: DE }, { code: FR }, { code: US }]
regions:
  - { id: r0, jurisdiction: DE, recipient: o0, home-of: [FR] }
  - { id: r1, jurisdiction: US, recipient: o1 }
---
apiVersion: sluicegate/v1
kind: Purpose
metadata: { name: u0 }
---
apiVersion: sluicegate/v1
kind: Purpose
metadata: { name: u0.u1 }
---
apiVersion: sluicegate/v1
kind: Purpose
metadata: { name: u2 }
";

fn head(kind: &str, letter: &str, i: usize) -> String {
    format!(
        "---\napiVersion: sluicegate/v1\nkind: {kind}\nmetadata: {{ name: {letter}{i} }}\nbecause: x\n"
    )
}

fn dates(from: Option<i64>, until: Option<i64>) -> String {
    let from = from.map(|d| format!("from: {}", day_text(d)));
    let until = until.map(|d| format!("until: {}", day_text(d)));
    from.into_iter().chain(until).collect::<Vec<_>>().join(", ")
}

/// Days of January 1970.
fn day_text(day: i64) -> String {
    format!("1970-01-{:02}", day + 1)
}
