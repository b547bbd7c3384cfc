//! Where did it come from, where did it go? Questions over the rows, their manifests and the
//! offset projection. An answer is read from rows, never from a projection alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    Digest16, Entry, Fate, Filter, Intent, Leaf, Outcome, Position, Present, Release, Row,
    SearchDigest, Treatment, WriterId,
    entry::release_message,
    id::hex,
    json::text,
    row::{self, RowError},
    store::{Pace, Store, StoreError, TimedRow, Url, read_only},
};

pub use crate::utc::utc;

/// Deliveries that one answer lists; more are counted, not listed.
pub const FOUND_MAX: usize = 10_000;

/// A record, or a run of records that are recorded together, and all that the ledger holds of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub position: Position,
    pub t_us: i64,
    pub request: [u8; 16],
    pub seq: u32,
    /// Records of the run; 1 for a record of its own.
    pub records: u32,
    pub actor: crate::Actor,
    pub purpose: String,
    pub dataset: String,
    pub topic: String,
    pub policy: [u8; 32],
    pub admitted_by: Vec<String>,
    pub fate: Fate,
    pub treatments: Vec<Applied>,
    pub places: Vec<Place>,
}

/// A treatment, and which of its fields the record had.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    pub treatment: Treatment,
    pub present: Present,
}

impl Applied {
    /// The fields that were there, and in how many records.
    pub fn fields(&self) -> impl Iterator<Item = (&crate::FieldTransform, u32)> {
        let fields = self.treatment.transforms.iter().enumerate();
        fields.map(|(n, field)| (field, self.present.count(n))).filter(|(_, times)| *times > 0)
    }
}

/// Where a copy is stored: the first offset, and how many records follow each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub region: String,
    pub topic: String,
    pub partition: u32,
    pub offset: i64,
    pub records: u32,
    /// Another record is at the offset that was asked for: the topic was created again since.
    pub replaced: bool,
}

/// What an answer says of an event that is no longer where it was.
const REPLACED: &str = "another record is there now: the topic was created again";

impl Place {
    fn holds(&self, topic: &str, partition: u32, offset: i64) -> bool {
        let from = self.offset;
        (&*self.topic, self.partition) == (topic, partition)
            && (from..from.saturating_add(i64::from(self.records))).contains(&offset)
    }
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub found: Vec<Found>,
    /// Releases that the record is a message of.
    pub releases: Vec<FoundRelease>,
    /// Leaves that matched beyond [`FOUND_MAX`].
    pub more: u64,
    /// Leaves that may match: the ledger commits to them, and they are no longer kept.
    pub unknown: u64,
}

/// A release, where its entry is, and which of its messages was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRelease {
    pub position: Position,
    pub t_us: i64,
    pub message: u32,
    pub release: Release,
    /// As of a [`Place`].
    pub replaced: bool,
}

/// Asks a store, without a running writer and without write access.
pub struct Lineage {
    store: Box<dyn Store>,
}

fn corrupt(error: RowError) -> StoreError {
    StoreError::Corrupt(error.to_string())
}

impl Lineage {
    /// Opens a store for reading.
    pub async fn open(url: &Url) -> Result<Self, StoreError> {
        Ok(Self { store: read_only(url).await? })
    }

    /// The event at a place; in one region, or in each that has the topic. A topic that was created
    /// again begins at offset 0 again: the newest event is the one that is there, and those before
    /// it are marked.
    pub async fn record(
        &self,
        region: Option<&str>,
        topic: &str,
        partition: u32,
        offset: i64,
    ) -> Result<Answer, StoreError> {
        // By region, events and when each was placed first.
        let mut wanted: BTreeMap<String, BTreeMap<Position, i64>> = BTreeMap::new();
        for edge in self.store.edges(region, topic, partition, offset).await? {
            let (row, _) = self.row(edge.writer, edge.wseq).await?;
            for outcome in outcomes(&row) {
                for placement in &outcome.placed {
                    let here = placement.region == edge.region
                        && placement.topic == topic
                        && placement.partition == partition;
                    let at = placement.at.iter().find(|at| here && at.holds(offset));
                    let Some(at) = at else { continue };
                    let position = Position { leaf: at.leaf, ..outcome.of };
                    let of_region = wanted.entry(placement.region.clone()).or_default();
                    let placed_us = of_region.entry(position).or_insert(row.t_us);
                    *placed_us = row.t_us.min(*placed_us);
                }
            }
        }
        let newest = |of: &BTreeMap<Position, i64>| of.iter().map(|(p, at)| (*at, *p)).max();
        let is_replaced = |region: &str, position: Position| {
            wanted.get(region).is_some_and(|of| {
                of.contains_key(&position) && newest(of).is_some_and(|(_, there)| there != position)
            })
        };
        let mut answer = Answer::default();
        let all: BTreeSet<Position> = wanted.values().flat_map(BTreeMap::keys).copied().collect();
        for position in all {
            if let Some(mut release) = self.release(position).await? {
                release.replaced = is_replaced(&release.release.region, position);
                answer.releases.push(release);
                continue;
            }
            let is_it = |leaf, _: Option<&Leaf>| leaf == position.leaf;
            let unknown = self.leaves(position.writer, position.wseq, &mut answer, is_it).await?;
            answer.unknown += unknown.min(1);
        }
        for found in &mut answer.found {
            for place in
                found.places.iter_mut().filter(|place| place.holds(topic, partition, offset))
            {
                place.replaced = is_replaced(&place.region, found.position);
            }
        }
        Ok(answer)
    }

    /// The release that a message's position belongs to.
    async fn release(&self, of: Position) -> Result<Option<FoundRelease>, StoreError> {
        let (row, _) = self.row(of.writer, of.wseq).await?;
        let (entry, message) = release_message(of.leaf);
        Ok(match row.entries.into_iter().nth(entry as usize) {
            Some(Entry::Release(release)) => Some(FoundRelease {
                position: Position { leaf: entry, ..of },
                t_us: row.t_us,
                message,
                release: *release,
                replaced: false,
            }),
            _ => None,
        })
    }

    /// Records that carry a token, by its keyed digests: one for each search key.
    pub async fn token(&self, digests: &[SearchDigest]) -> Result<Answer, StoreError> {
        self.search(i64::MIN, i64::MAX, digests, |leaf| &leaf.tokens).await
    }

    /// Records that came from a declared source between two moments (`from <= t < to`), by its
    /// keyed digests: one for each search key.
    pub async fn affected(
        &self,
        source: &[SearchDigest],
        from_us: i64,
        to_us: i64,
    ) -> Result<Answer, StoreError> {
        self.search(from_us, to_us, source, |leaf| &leaf.source).await
    }

    /// Filters say which rows may hold it; the leaves say which records do.
    async fn search(
        &self,
        from_us: i64,
        to_us: i64,
        asked: &[SearchDigest],
        digests: impl Fn(&Leaf) -> &Vec<Digest16> + Copy,
    ) -> Result<Answer, StoreError> {
        let mut answer = Answer::default();
        let mut pace = Pace::new(&*self.store).await?;
        let mut after = (from_us, None);
        loop {
            let page = self.store.by_time(to_us, after).await?;
            let Some(last) = page.last() else { return Ok(answer) };
            after = (last.t_us, Some((last.writer, last.wseq)));
            for TimedRow { writer, wseq, bytes, filter, .. } in page {
                let Some(filter) = filter else {
                    answer.unknown += u64::from(Row::decode(&bytes).map_err(corrupt)?.leaves);
                    continue;
                };
                let filter = Filter::from_bytes(filter);
                if asked.iter().any(|digest| filter.may_hold(digest)) {
                    // What is no longer kept may be what was asked for.
                    let wanted = |_, leaf: Option<&Leaf>| {
                        leaf.is_none_or(|leaf| digests(leaf).iter().any(|d| asked.contains(&d.0)))
                    };
                    answer.unknown += self.leaves(writer, wseq, &mut answer, wanted).await?;
                }
            }
            pace.pause(&*self.store).await?;
        }
    }

    async fn row(&self, writer: WriterId, wseq: u64) -> Result<(Row, Option<Vec<u8>>), StoreError> {
        let stored = self.store.row(writer, wseq).await?.ok_or_else(|| {
            let gone = "a lookup names a row that is gone; `ledger verify` says more";
            StoreError::Corrupt(gone.to_owned())
        })?;
        Ok((Row::decode(&stored.bytes).map_err(corrupt)?, stored.manifest))
    }

    /// Adds those leaves of a row that are wanted. Gives the number of those that are not kept, and
    /// so cannot be looked at.
    async fn leaves(
        &self,
        writer: WriterId,
        wseq: u64,
        answer: &mut Answer,
        wanted: impl Fn(u32, Option<&Leaf>) -> bool,
    ) -> Result<u64, StoreError> {
        let (row, manifest) = self.row(writer, wseq).await?;
        let Some(manifest) = manifest else { return Ok(u64::from(row.leaves)) };
        let leaves = row::decode_manifest(&manifest).map_err(corrupt)?;
        let mut places: Option<BTreeMap<u32, Vec<Place>>> = None;
        let mut unknown = 0;
        for entry in &row.entries {
            let Entry::Intent(intent) = entry else { continue };
            let mine = leaves.iter().zip(0_u32..);
            let mine = mine.skip(intent.first_leaf as usize).take(intent.leaves as usize);
            for (bytes, n) in mine {
                let leaf = bytes.kept().map(row::decode_leaf).transpose().map_err(corrupt)?;
                if !wanted(n, leaf.as_ref()) {
                    continue;
                }
                let Some(leaf) = leaf else {
                    unknown += 1;
                    continue;
                };
                if answer.found.len() >= FOUND_MAX {
                    answer.more += 1;
                    continue;
                }
                if places.is_none() {
                    places = Some(self.places(writer, wseq).await?);
                }
                let position = Position { writer, wseq, leaf: n };
                let at = places.as_ref().and_then(|p| p.get(&n)).cloned().unwrap_or_default();
                answer.found.push(self.found(position, row.t_us, intent, leaf, at).await?);
            }
        }
        Ok(unknown)
    }

    async fn places(
        &self,
        writer: WriterId,
        wseq: u64,
    ) -> Result<BTreeMap<u32, Vec<Place>>, StoreError> {
        let mut places: BTreeMap<u32, BTreeSet<Place>> = BTreeMap::new();
        for (by, at) in self.store.outcomes(writer, wseq).await? {
            let (row, _) = self.row(by, at).await?;
            let ours = |o: &&Outcome| o.of.writer == writer && o.of.wseq == wseq;
            for placement in outcomes(&row).filter(ours).flat_map(|o| &o.placed) {
                for at in &placement.at {
                    places.entry(at.leaf).or_default().insert(Place {
                        region: placement.region.clone(),
                        topic: placement.topic.clone(),
                        partition: placement.partition,
                        offset: at.offset,
                        records: at.count,
                        replaced: false,
                    });
                }
            }
        }
        Ok(places.into_iter().map(|(leaf, at)| (leaf, at.into_iter().collect())).collect())
    }

    async fn found(
        &self,
        position: Position,
        t_us: i64,
        intent: &Intent,
        leaf: Leaf,
        places: Vec<Place>,
    ) -> Result<Found, StoreError> {
        let mut treatments = Vec::new();
        for copied in leaf.fate.copies() {
            let Some(digest) = intent.treatments.get(copied.treatment as usize) else { continue };
            let detail = self.store.detail(&digest.0).await?;
            let treatment = detail.and_then(|d| minicbor::decode::<Treatment>(&d).ok());
            let present = copied.present.clone();
            treatments.extend(treatment.map(|treatment| Applied { treatment, present }));
        }
        Ok(Found {
            position,
            t_us,
            request: intent.request,
            seq: leaf.seq,
            records: leaf.count,
            actor: intent.actor.clone(),
            purpose: intent.purpose.clone(),
            dataset: intent.dataset.clone(),
            topic: intent.topic.clone(),
            policy: intent.policy,
            admitted_by: intent.rules.clone(),
            fate: leaf.fate,
            treatments,
            places,
        })
    }

    /// Lets go of the store.
    pub async fn close(&self) {
        self.store.close().await;
    }
}

fn outcomes(row: &Row) -> impl Iterator<Item = &Outcome> {
    row.entries.iter().filter_map(|entry| match entry {
        Entry::Outcome(outcome) => Some(outcome),
        _ => None,
    })
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.unknown > 0 {
            let not_kept = "their leaves have been deleted";
            writeln!(f, "unknown for {} events: {not_kept}", self.unknown)?;
        } else if self.found.is_empty() && self.releases.is_empty() {
            writeln!(f, "no matching entries")?;
        }
        for release in &self.releases {
            writeln!(f, "{release}")?;
        }
        for found in &self.found {
            writeln!(f, "{found}")?;
        }
        if self.more > 0 {
            writeln!(f, "and {} more", self.more)?;
        }
        Ok(())
    }
}

impl fmt::Display for FoundRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let release = &self.release;
        writeln!(f, "release {}, message {}", hex(&release.id), self.message)?;
        if self.replaced {
            writeln!(f, "  REPLACED     {REPLACED}")?;
        }
        writeln!(f, "  recorded     {} at {}", utc(self.t_us), self.position)?;
        writeln!(f, "  name         {} (account {})", release.name, release.account)?;
        let (from, to) = (utc(release.window_start_us), utc(release.window_end_us));
        writeln!(f, "  window       {from} to {to}, revision {}", release.revision)?;
        writeln!(f, "  policy       b3:{}", hex(&release.policy))?;
        let cost = release.cost;
        writeln!(
            f,
            "  cost         {} {}, delta {}e-18",
            cost.loss,
            release.unit.word(),
            cost.delta
        )?;
        writeln!(f, "  mechanism    {}", release.mechanism)?;
        for covered in &release.covers {
            let crate::OffsetRange { region, topic, partition, from, to } = covered;
            writeln!(
                f,
                "  covers       {region}: {topic}/{partition}, offsets {from} to before {to}"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.records {
            1 => writeln!(f, "event {}", self.position)?,
            records => writeln!(f, "run of {records} events {}", self.position)?,
        }
        writeln!(f, "  recorded     {}", utc(self.t_us))?;
        writeln!(f, "  request      {}-{}", hex(&self.request), self.seq)?;
        writeln!(f, "  by           {} ({})", self.actor.id, self.actor.by)?;
        writeln!(f, "  purpose      {}", self.purpose)?;
        writeln!(f, "  dataset      {} (topic {})", self.dataset, self.topic)?;
        writeln!(f, "  policy       b3:{}", hex(&self.policy))?;
        writeln!(f, "  admitted by  {}", self.admitted_by.join(", "))?;
        match &self.fate {
            Fate::Deliver(_) => {}
            Fate::Refuse(code, rule) => writeln!(f, "  REFUSED      {code} {rule}")?,
            Fate::Quarantine(code) => writeln!(f, "  QUARANTINED  {code}")?,
            Fate::Aggregate(copies) if copies.is_empty() => {
                writeln!(f, "  FOR RELEASES, and not counted in any window")?;
            }
            Fate::Aggregate(_) => {
                writeln!(f, "  FOR RELEASES; the topics below hold its contributions")?;
            }
        }
        for treatment in &self.treatments {
            treatment_text(f, treatment)?;
        }
        for place in &self.places {
            let Place { region, topic, partition, offset, records, replaced } = place;
            write!(f, "  stored at    {region}: {topic}/{partition}/{offset}")?;
            match records {
                1 => writeln!(f)?,
                records => writeln!(f, " ({records} records)")?,
            }
            if *replaced {
                writeln!(f, "    REPLACED   {REPLACED}")?;
            }
        }
        Ok(())
    }
}

fn treatment_text(f: &mut fmt::Formatter<'_>, applied: &Applied) -> fmt::Result {
    let t = &applied.treatment;
    writeln!(f, "  to region    {} (subject of {})", t.region, t.jurisdiction)?;
    if let Some(topic) = &t.topic {
        writeln!(f, "    to topic {topic}")?;
    }
    match (t.is_untouched(), t.is_stub()) {
        (true, _) => writeln!(f, "    as it came, unread")?,
        (_, true) => writeln!(f, "    as a stub, with nothing of it but its protected key")?,
        _ => {}
    }
    for (field, times) in applied.fields().filter(|_| !t.is_untouched() && !t.is_stub()) {
        let by = field.rules.join(", ");
        write!(f, "    {:<24} {} [{}] by {by}", field.field, field.transform, field.category)?;
        match &applied.present {
            Present::Bitmap(_) => writeln!(f)?,
            Present::Counts(_) => writeln!(f, ", in {times} records")?,
        }
    }
    for key in &t.keys {
        let crate::KeyUse { key, domain, scope, epoch } = key;
        writeln!(f, "    key {key}, domain {domain}, scope {scope}, epoch {epoch}")?;
    }
    for c in &t.transfer {
        writeln!(
            f,
            "    LEAVES {} for {} ({}): {}, by {}",
            c.from, c.to, c.recipient, c.mechanism, c.rule
        )?;
    }
    for w in &t.withheld {
        writeln!(f, "    withheld from {}: {} {}", w.region, w.code, w.rule)?;
    }
    Ok(())
}

impl Answer {
    /// As JSON, for programs. Every text in it is a word of the configuration or the policy.
    pub fn json(&self) -> String {
        let found = list(self.found.iter().map(Found::json));
        let releases = list(self.releases.iter().map(FoundRelease::json));
        let Self { more, unknown, .. } = self;
        format!(r#"{{"found":{found},"releases":{releases},"more":{more},"unknown":{unknown}}}"#)
    }
}

impl FoundRelease {
    fn json(&self) -> String {
        let release = &self.release;
        let covered = |c: &crate::OffsetRange| {
            object(&[
                ("region", text(&c.region)),
                ("topic", text(&c.topic)),
                ("partition", c.partition.to_string()),
                ("from", c.from.to_string()),
                ("to", c.to.to_string()),
            ])
        };
        object(&[
            ("release_id", text(&hex(&release.id))),
            ("message", self.message.to_string()),
            ("replaced", self.replaced.to_string()),
            ("position", text(&self.position.to_string())),
            ("recorded", text(&utc(self.t_us))),
            ("name", text(&release.name)),
            ("account", text(&release.account)),
            ("window_start", text(&utc(release.window_start_us))),
            ("window_end", text(&utc(release.window_end_us))),
            ("revision", release.revision.to_string()),
            ("policy", text(&format!("b3:{}", hex(&release.policy)))),
            ("unit", text(release.unit.word())),
            ("cost_loss", release.cost.loss.to_string()),
            ("cost_delta", release.cost.delta.to_string()),
            ("mechanism", text(&release.mechanism)),
            ("covers", list(release.covers.iter().map(covered))),
        ])
    }
}

impl Found {
    fn json(&self) -> String {
        let fate = match &self.fate {
            Fate::Deliver(_) => r#"{"fate":"deliver"}"#.to_owned(),
            Fate::Refuse(code, rule) => {
                object(&[("fate", text("refuse")), ("code", text(code)), ("rule", text(rule))])
            }
            Fate::Quarantine(code) => object(&[("fate", text("quarantine")), ("code", text(code))]),
            Fate::Aggregate(_) => r#"{"fate":"aggregate"}"#.to_owned(),
        };
        let place = |p: &Place| {
            object(&[
                ("region", text(&p.region)),
                ("topic", text(&p.topic)),
                ("partition", p.partition.to_string()),
                ("offset", p.offset.to_string()),
                ("records", p.records.to_string()),
                ("replaced", p.replaced.to_string()),
            ])
        };
        object(&[
            ("position", text(&self.position.to_string())),
            ("recorded", text(&utc(self.t_us))),
            ("request", text(&hex(&self.request))),
            ("index", self.seq.to_string()),
            ("records", self.records.to_string()),
            ("principal", text(&self.actor.id)),
            ("authenticated_by", text(&self.actor.by)),
            ("purpose", text(&self.purpose)),
            ("dataset", text(&self.dataset)),
            ("topic", text(&self.topic)),
            ("policy", text(&format!("b3:{}", hex(&self.policy)))),
            ("let_in_by", texts(&self.admitted_by)),
            ("fate", fate),
            ("treatments", list(self.treatments.iter().map(treatment_json))),
            ("places", list(self.places.iter().map(place))),
        ])
    }
}

fn treatment_json(applied: &Applied) -> String {
    let t = &applied.treatment;
    let transform = |(f, times): (&crate::FieldTransform, u32)| {
        object(&[
            ("field", text(&f.field)),
            ("category", text(&f.category)),
            ("transform", text(&f.transform)),
            ("rules", texts(&f.rules)),
            ("records", times.to_string()),
        ])
    };
    let key = |k: &crate::KeyUse| {
        object(&[
            ("key", text(&k.key)),
            ("domain", text(&k.domain)),
            ("scope", text(&k.scope)),
            ("epoch", k.epoch.to_string()),
        ])
    };
    let terms = |c: &crate::TransferTerms| {
        object(&[
            ("rule", text(&c.rule)),
            ("from", text(&c.from)),
            ("to", text(&c.to)),
            ("recipient", text(&c.recipient)),
            ("mechanism", text(&c.mechanism)),
            ("categories", texts(&c.categories)),
        ])
    };
    let withheld = |w: &crate::Withheld| {
        object(&[("region", text(&w.region)), ("code", text(&w.code)), ("rule", text(&w.rule))])
    };
    object(&[
        ("region", text(&t.region)),
        ("jurisdiction", text(&t.jurisdiction)),
        ("rules", texts(&t.rules)),
        ("transforms", list(applied.fields().map(transform))),
        ("keys", list(t.keys.iter().map(key))),
        ("transfer", list(t.transfer.iter().map(terms))),
        ("withheld", list(t.withheld.iter().map(withheld))),
        ("topic", t.topic.as_deref().map_or("null".to_owned(), text)),
    ])
}

fn object(members: &[(&str, String)]) -> String {
    let members: Vec<String> =
        members.iter().map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
    format!("{{{}}}", members.join(","))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

fn texts(items: &[String]) -> String {
    list(items.iter().map(|item| text(item)))
}
