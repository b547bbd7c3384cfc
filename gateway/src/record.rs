//! The words of a record's path. Each stage consumes what the one before made; what proves that a
//! record was recorded is made by the ledger alone ([`sluicegate_audit::Recorded`]).
//!
//! INVARIANT: nothing in this file has `Debug`, `Display` or `Serialize` if it can hold a value
//! of a record: what cannot be printed cannot leak into a log.

use std::{fmt, ops::Range, sync::Arc};

use bytes::Bytes;
use sluicegate_audit::{BatchIdentity, Position, Recorded, message_leaf};
use sluicegate_policies::{RefusalCode, RuleName};
use sluicegate_protect::RecordRef;

pub use sluicegate_protect::Header;

use crate::treatments::Treatment;

/// A request's id; with a record's number in it, it is the decision id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub [u8; 16]);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hex = [0; 32];
        for ([high, low], byte) in hex.as_chunks_mut().0.iter_mut().zip(self.0) {
            *high = b"0123456789abcdef".get(usize::from(byte >> 4)).copied().unwrap_or_default();
            *low = b"0123456789abcdef".get(usize::from(byte & 15)).copied().unwrap_or_default();
        }
        f.write_str(std::str::from_utf8(&hex).unwrap_or_default())
    }
}

/// Bytes of names and values.
pub(crate) fn bytes_of(headers: &[Header]) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len)).sum()
}

/// One record as a publisher gave it. Its parts share the body that it came in.
pub struct Record {
    pub key: Option<Bytes>,
    pub headers: Vec<Header>,
    /// JSON text; `None` is a tombstone.
    pub value: Option<Bytes>,
}

impl Record {
    pub fn bytes(&self) -> usize {
        let headers = bytes_of(&self.headers);
        self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
            + headers
    }

    /// As the engine sees it; a tombstone has an empty value.
    pub fn as_ref(&self) -> RecordRef<'_> {
        RecordRef {
            key: self.key.as_deref(),
            headers: &self.headers,
            value: self.value.as_deref().unwrap_or_default(),
        }
    }
}

/// What came.
pub enum Records {
    Single(Vec<Record>),
    /// So many in one batch of Kafka's, of which nothing is read.
    Whole(u32, Bytes),
}

/// Records of one request, or of one stretch of a streamed one.
pub struct Batch {
    pub request: RequestId,
    /// Keyed digest of the caller's address.
    pub origin: [u8; 16],
    /// The number of the first record within its request.
    pub first: u32,
    pub records: Records,
    /// What its producer and Kafka know it by, if it came as one of Kafka's batches.
    pub identity: Option<BatchIdentity>,
}

/// Why a record was not let through: words of the policy, a place, never a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    pub code: RefusalCode,
    pub rule: Option<RuleName>,
    pub pointer: Option<String>,
    pub detail: Arc<str>,
    pub help: Option<Arc<str>>,
}

impl Refused {
    pub fn at(pointer: Option<String>, refusal: &sluicegate_policies::Refusal) -> Self {
        Self {
            code: refusal.code,
            rule: refusal.rule.clone(),
            pointer,
            detail: refusal.detail.clone(),
            help: refusal.help.clone(),
        }
    }
}

/// The one fate of a record.
pub enum Fate {
    Deliver,
    /// For releases only; the copies are what it brings to them, perhaps nothing.
    Aggregate,
    Refuse(Box<Refused>),
}

impl Fate {
    /// Whether the ledger says the same of both.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Refuse(one), Self::Refuse(other)) => {
                one.code == other.code && one.rule == other.rule
            }
            (Self::Deliver, Self::Deliver) | (Self::Aggregate, Self::Aggregate) => true,
            _ => false,
        }
    }
}

/// A record with its fate, or all records of a batch that is not read. The ranges are places in its [`Verdict`].
pub struct Judged {
    pub fate: Fate,
    pub count: u32,
    /// Its leaf, behind the first of its batch.
    pub leaf: u32,
    copies: Range<usize>,
    source: Range<usize>,
    tokens: Range<usize>,
}

/// One copy of a record: where it goes, and how it was treated.
#[derive(Clone)]
pub struct Copy {
    /// Its lot, and its number there.
    pub lot: usize,
    pub number: usize,
    /// The number of its treatment in the verdict.
    pub treatment: usize,
    present: Range<usize>,
}

/// A batch judged: what becomes of each record, and all that may go out, in one buffer for each
/// topic of a region.
#[derive(Default)]
pub struct Verdict {
    records: Vec<Judged>,
    copies: Vec<Copy>,
    lots: Vec<Arc<Lot>>,
    /// How copies were treated, in the order of their first use.
    treatments: Vec<Arc<Treatment>>,
    /// Keyed digests of declared sources and of tokens.
    digests: Vec<[u8; 16]>,
    present: Vec<u8>,
    not_counted: Vec<(usize, NotCounted)>,
    /// Records of one fate that follow each other have one leaf, which has no digests.
    in_runs: bool,
}

impl Verdict {
    pub fn records(&self) -> &[Judged] {
        &self.records
    }

    /// All that goes out.
    pub fn lots(&self) -> &[Arc<Lot>] {
        &self.lots
    }

    pub fn treatments(&self) -> &[Arc<Treatment>] {
        &self.treatments
    }

    /// The copies of a record, in the order of its route; behind them, what it brings to releases.
    pub fn copies(&self, judged: &Judged) -> &[Copy] {
        self.copies.get(judged.copies.clone()).unwrap_or_default()
    }

    /// Which fields of its treatment a copy's record had, as a bitmap.
    pub fn present(&self, copy: &Copy) -> &[u8] {
        self.present.get(copy.present.clone()).unwrap_or_default()
    }

    /// Keyed digests of the source that a record declares.
    pub fn source(&self, judged: &Judged) -> &[[u8; 16]] {
        self.digests.get(judged.source.clone()).unwrap_or_default()
    }

    /// Keyed digests of the tokens in a record's copies.
    pub fn tokens(&self, judged: &Judged) -> &[[u8; 16]] {
        self.digests.get(judged.tokens.clone()).unwrap_or_default()
    }

    /// The same records, and none is let through: those of `refused` for their own reasons, the others because they
    /// came in one batch with them.
    pub fn refuse_all(&self, refused: Vec<(usize, Refused)>, others: &Refused) -> Self {
        let mut draft = VerdictDraft::new(self.in_runs);
        let mut refused = refused.into_iter().peekable();
        for (n, judged) in self.records.iter().enumerate() {
            let own = refused.next_if(|(of, _)| *of == n).map(|(_, own)| own);
            let fate = Fate::Refuse(Box::new(own.unwrap_or_else(|| others.clone())));
            draft.end_all(judged.count, fate, self.source(judged), &[]);
        }
        draft.finish()
    }

    /// What of a record counts in no window of a release.
    pub fn not_counted(&self, record: usize) -> impl Iterator<Item = &NotCounted> {
        let start = self.not_counted.partition_point(|(n, _)| *n < record);
        let rest = self.not_counted.get(start..).unwrap_or_default();
        rest.iter().take_while(move |(n, _)| *n == record).map(|(_, why)| why)
    }
}

/// Copies for one topic of one region, in the order of their records.
pub struct Lot {
    pub region: Arc<str>,
    pub topic: Arc<str>,
    bytes: Bytes,
    records: Vec<Outgoing>,
    /// They are messages of a release, whose positions are counted in another way.
    of_release: bool,
    /// It is one batch of Kafka's, as it came, in place of records.
    whole: bool,
}

/// One copy within a lot's bytes.
struct Outgoing {
    /// Its record's leaf behind the first of the batch, or the number of its message in the release.
    leaf: u32,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Vec<Header>,
    came_in: Option<CameIn>,
}

/// The partition in which a client put a record, and how many its topic has there. A topic that has as many elsewhere
/// has the record in the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CameIn {
    pub partition: u32,
    pub of: u32,
}

impl CameIn {
    /// Whether a topic with so many partitions has the same one.
    pub fn fits(self, partitions: u32) -> bool {
        self.of == partitions && self.partition < partitions
    }
}

/// A copy as an engine sends it.
pub struct Outbound<'l> {
    pub position: Position,
    pub key: Option<Bytes>,
    pub headers: &'l [Header],
    /// `None` is a tombstone.
    pub value: Option<Bytes>,
    pub came_in: Option<CameIn>,
}

impl Lot {
    /// The messages of a release.
    pub fn of_release<'m>(
        region: Arc<str>,
        topic: Arc<str>,
        messages: impl Iterator<Item = (&'m [u8], &'m [u8])>,
    ) -> Self {
        let mut draft = LotDraft::new(region, topic);
        for (n, (key, value)) in messages.enumerate() {
            draft.push(n, Some(key), Vec::new(), Some(value));
        }
        Self { of_release: true, ..draft.finish() }
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of the largest copy.
    pub fn largest(&self) -> usize {
        let length = |part: &Option<Range<usize>>| part.as_ref().map_or(0, ExactSizeIterator::len);
        let sizes = self.records.iter();
        let sizes = sizes.map(|one| length(&one.key) + length(&one.value) + bytes_of(&one.headers));
        sizes.max().unwrap_or(0)
    }

    /// The leaf of a copy, behind the first of its batch.
    fn leaf(&self, first: u32, outgoing: &Outgoing) -> u32 {
        match self.of_release {
            true => message_leaf(first, outgoing.leaf),
            false => first.saturating_add(outgoing.leaf),
        }
    }
}

/// A lot that grows.
pub(crate) struct LotDraft {
    region: Arc<str>,
    topic: Arc<str>,
    bytes: Vec<u8>,
    records: Vec<Outgoing>,
    whole: Option<Bytes>,
}

impl LotDraft {
    pub(crate) fn new(region: Arc<str>, topic: Arc<str>) -> Self {
        Self { region, topic, bytes: Vec::new(), records: Vec::new(), whole: None }
    }

    fn is_for(&self, region: &str, topic: &str) -> bool {
        *self.region == *region && *self.topic == *topic
    }

    fn push(
        &mut self,
        number: usize,
        key: Option<&[u8]>,
        headers: Vec<Header>,
        value: Option<&[u8]>,
    ) -> usize {
        let mut put = |part: Option<&[u8]>| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(part?);
            Some(start..self.bytes.len())
        };
        let (key, value) = (put(key), put(value));
        let leaf = u32::try_from(number).unwrap_or(u32::MAX);
        self.records.push(Outgoing { leaf, key, value, headers, came_in: None });
        self.records.len() - 1
    }

    fn finish(self) -> Lot {
        let Self { region, topic, bytes, records, whole } = self;
        let is_whole = whole.is_some();
        let bytes = whole.unwrap_or_else(|| Bytes::from(bytes));
        Lot { region, topic, bytes, records, of_release: false, whole: is_whole }
    }
}

/// A verdict that grows, record by record.
#[derive(Default)]
pub(crate) struct VerdictDraft {
    verdict: Verdict,
    lots: Vec<LotDraft>,
}

/// What a copy is made of.
pub(crate) struct Parts<'p> {
    pub key: Option<&'p [u8]>,
    pub headers: Vec<Header>,
    pub value: Option<&'p [u8]>,
    pub present: &'p [u8],
}

impl VerdictDraft {
    pub(crate) fn new(in_runs: bool) -> Self {
        Self { verdict: Verdict { in_runs, ..Verdict::default() }, lots: Vec::new() }
    }

    /// The number of the record that is being judged.
    pub(crate) fn next(&self) -> usize {
        self.verdict.records.len()
    }

    /// The number of the lot for a topic of a region.
    pub(crate) fn lot(&mut self, region: &Arc<str>, topic: &Arc<str>) -> usize {
        let known = self.lots.iter().position(|lot| lot.is_for(region, topic));
        known.unwrap_or_else(|| {
            self.lots.push(LotDraft::new(region.clone(), topic.clone()));
            self.lots.len() - 1
        })
    }

    /// The number of a treatment.
    pub(crate) fn treatment(&mut self, treatment: Arc<Treatment>) -> usize {
        let treatments = &mut self.verdict.treatments;
        let known = treatments.iter().position(|known| Arc::ptr_eq(known, &treatment));
        known.unwrap_or_else(|| {
            treatments.push(treatment);
            treatments.len() - 1
        })
    }

    /// A copy of the record that is being judged.
    pub(crate) fn copy(&mut self, lot: usize, treatment: usize, parts: Parts<'_>) {
        let record = self.next();
        let Some(draft) = self.lots.get_mut(lot) else { return };
        let number = draft.push(record, parts.key, parts.headers, parts.value);
        let verdict = &mut self.verdict;
        let start = verdict.present.len();
        verdict.present.extend_from_slice(parts.present);
        let present = start..verdict.present.len();
        verdict.copies.push(Copy { lot, number, treatment, present });
    }

    /// What was put there last came in this partition of another topic of its name.
    pub(crate) fn came_in(&mut self, lot: usize, came_in: CameIn) {
        let lot = self.lots.get_mut(lot).and_then(|lot| lot.records.last_mut());
        if let Some(outgoing) = lot {
            outgoing.came_in = Some(came_in);
        }
    }

    /// All records of a batch that is not read, as one copy.
    pub(crate) fn whole(&mut self, lot: usize, treatment: usize, present: &[u8], batch: Bytes) {
        self.copy(lot, treatment, Parts { key: None, headers: Vec::new(), value: None, present });
        if let Some(draft) = self.lots.get_mut(lot) {
            draft.whole = Some(batch);
        }
    }

    pub(crate) fn not_counted(&mut self, release: Arc<str>, why: Uncounted) {
        let record = self.next();
        self.verdict.not_counted.push((record, NotCounted { release, why }));
    }

    /// Ends the record. A refused one leaves no copies.
    pub(crate) fn end(&mut self, fate: Fate, source: &[[u8; 16]], tokens: &[[u8; 16]]) {
        self.end_all(1, fate, source, tokens);
    }

    /// Ends that many records at once.
    pub(crate) fn end_all(
        &mut self,
        count: u32,
        fate: Fate,
        source: &[[u8; 16]],
        tokens: &[[u8; 16]],
    ) {
        let record = self.next();
        let Verdict { records, copies, digests, not_counted, in_runs, .. } = &mut self.verdict;
        let in_runs = *in_runs;
        let first = records.last().map_or(0, |judged| judged.copies.end);
        let refused = matches!(fate, Fate::Refuse(_));
        if refused {
            for copy in copies.drain(first..).rev() {
                if let Some(lot) = self.lots.get_mut(copy.lot)
                    && let Some(gone) = lot.records.pop()
                {
                    let start = gone.key.or(gone.value).map(|part| part.start);
                    lot.bytes.truncate(start.unwrap_or(lot.bytes.len()));
                }
            }
            not_counted.retain(|(n, _)| *n != record);
        }
        let [source, tokens] = match (in_runs, refused) {
            (true, _) => [&[][..], &[]],
            (false, true) => [source, &[]],
            (false, false) => [source, tokens],
        };
        let start = digests.len();
        digests.extend_from_slice(source);
        let middle = digests.len();
        digests.extend_from_slice(tokens);
        let tokens = middle..digests.len();
        let treated = |of: &Range<usize>| {
            copies.get(of.clone()).into_iter().flatten().map(|copy| (copy.lot, copy.treatment))
        };
        let own = first..copies.len();
        let joins = |last: &Judged| {
            let alike = last.fate.is_like(&fate) && treated(&last.copies).eq(treated(&own));
            in_runs && alike
        };
        let leaf = records.last().map_or(0, |last| last.leaf + u32::from(!joins(last)));
        for copy in copies.get(own.clone()).unwrap_or_default() {
            let lot = self.lots.get_mut(copy.lot);
            if let Some(outgoing) = lot.and_then(|lot| lot.records.get_mut(copy.number)) {
                outgoing.leaf = leaf;
            }
        }
        records.push(Judged { fate, count, leaf, copies: own, source: start..middle, tokens });
    }

    pub(crate) fn finish(self) -> Verdict {
        let lots = self.lots.into_iter().map(|lot| Arc::new(lot.finish()));
        Verdict { lots: lots.collect(), ..self.verdict }
    }
}

/// A lot that is recorded, or the part of it that is still to be sent.
pub struct Sending {
    lot: Recorded<Arc<Lot>>,
    /// Numbers of copies, ascending.
    only: Option<Vec<usize>>,
}

impl Sending {
    pub fn new(lot: Recorded<Arc<Lot>>) -> Self {
        Self { lot, only: None }
    }

    /// The copies of which this is true.
    pub fn only(lot: Recorded<Arc<Lot>>, wanted: impl Fn(usize) -> bool) -> Self {
        let only = (0..lot.get().len()).filter(|n| wanted(*n)).collect();
        Self { lot, only: Some(only) }
    }

    pub fn region(&self) -> &Arc<str> {
        &self.lot.get().region
    }

    pub fn topic(&self) -> &Arc<str> {
        &self.lot.get().topic
    }

    pub fn len(&self) -> usize {
        self.only.as_ref().map_or(self.lot.get().len(), Vec::len)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number in the lot of the n-th copy that is sent.
    pub fn number(&self, n: usize) -> usize {
        self.only.as_ref().map_or(n, |only| only.get(n).copied().unwrap_or(usize::MAX))
    }

    pub fn copies(&self) -> impl Iterator<Item = Outbound<'_>> {
        (0..self.len()).filter_map(|n| self.get(n))
    }

    /// The batch that goes out as it came, in place of copies.
    pub fn whole(&self) -> Option<&Bytes> {
        let lot = self.lot.get();
        lot.whole.then_some(&lot.bytes)
    }

    /// The n-th copy that is sent.
    pub fn get(&self, n: usize) -> Option<Outbound<'_>> {
        let lot = self.lot.get();
        let outgoing = lot.records.get(self.number(n))?;
        let part = |range: &Option<Range<usize>>| range.clone().map(|range| lot.bytes.slice(range));
        Some(Outbound {
            position: position(&self.lot, outgoing),
            key: part(&outgoing.key),
            headers: &outgoing.headers,
            value: part(&outgoing.value),
            came_in: outgoing.came_in,
        })
    }
}

/// A lot of a recorded verdict.
pub fn lot(recorded: &Recorded<Verdict>, n: usize) -> Option<Recorded<Arc<Lot>>> {
    recorded.project(|verdict| verdict.lots.get(n).cloned()).transpose()
}

/// The positions of a recorded lot's copies, in order.
pub fn positions(lot: &Recorded<Arc<Lot>>) -> impl Iterator<Item = Position> {
    lot.get().records.iter().map(|outgoing| position(lot, outgoing))
}

fn position(lot: &Recorded<Arc<Lot>>, outgoing: &Outgoing) -> Position {
    let first = lot.first();
    Position { leaf: lot.get().leaf(first.leaf, outgoing), ..first }
}

/// What of a record counts in no window of a release. Words of the plan, never a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NotCounted {
    pub release: Arc<str>,
    pub why: Uncounted,
}

/// Why a record counts in no window of a release, or not in a sum of it. A function of that
/// record, the plan, its arrival and the periods that are blocked, so that its publisher may know
/// it: it says nothing about other records.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Uncounted {
    /// The record may not be held in the release's region.
    Elsewhere,
    NoSubject,
    NoKey,
    UnlistedKey,
    LongKey,
    /// Its window was over when it arrived.
    Late,
    /// Its window is older than the first one that is released.
    BeforeFirst,
    /// Nothing more is released in the period of its window.
    PeriodBlocked,
    /// It counts, but adds nothing to the sum of this name.
    NoNumber(Arc<str>),
}

impl Uncounted {
    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Elsewhere => "not-in-region",
            Self::NoSubject => "no-subject",
            Self::NoKey => "no-key",
            Self::UnlistedKey => "key-not-listed",
            Self::LongKey => "key-too-long",
            Self::Late => "late",
            Self::BeforeFirst => "before-first-window",
            Self::PeriodBlocked => "period-blocked",
            Self::NoNumber(_) => "not-a-number",
        }
    }
}

impl fmt::Display for Uncounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Elsewhere => "the record may not be held in the release's region",
            Self::NoSubject => "the record has no subject, and the release drops such records",
            Self::NoKey => "the record has no key of the release",
            Self::UnlistedKey => "the record's key is not among the release's public keys",
            Self::LongKey => "the record's key is longer than the release's `max-bytes`",
            Self::Late => "the record's window was over when it arrived",
            Self::BeforeFirst => "the record's window is older than the release's first one",
            Self::PeriodBlocked => "nothing more is released in the period of the record's window",
            Self::NoNumber(sum) => {
                return write!(f, "the record adds nothing to `{sum}`: the field holds no number");
            }
        })
    }
}

/// Where a record is in a region's topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub partition: u32,
    pub offset: i64,
}

/// Why a record was not delivered. What is shown is a fixed text for each code, for publishers;
/// [`DeliverError::cause`] is for the log: our words and the engine's, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliverError {
    /// Not written; try again later.
    #[error("the region's pipeline is not available")]
    Unavailable(String),
    /// Perhaps written: only reconciliation can tell.
    #[error("the region's pipeline did not answer in time")]
    Unknown(String),
    /// Until the operator creates it.
    #[error("the topic does not exist in the region's pipeline")]
    UnknownTopic,
    /// Not written, until the operator changes rights, credentials or settings.
    #[error("the region's pipeline denied the gateway access")]
    Denied(String),
    #[error("the record is too large for the topic")]
    TooLarge,
    /// The record is not what the topic takes.
    #[error("the region's pipeline refuses the record as it is")]
    Refused(String),
    /// The request was interrupted, and what is left of it may no longer leave.
    #[error("the policy changed after the request was interrupted; publish again under a new key")]
    PolicyChanged,
}

impl DeliverError {
    /// A stable word for ledger, answers and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "pipeline-unavailable",
            Self::Unknown(_) => "pipeline-unknown",
            Self::UnknownTopic => "pipeline-unknown-topic",
            Self::Denied(_) => "pipeline-denied",
            Self::TooLarge => "pipeline-too-large",
            Self::Refused(_) => "pipeline-refused",
            Self::PolicyChanged => "policy-changed",
        }
    }

    /// Whether the same record may succeed later, perhaps after an operator's work. What is final
    /// is named here; everything else is not.
    pub fn is_retriable(&self) -> bool {
        !matches!(self, Self::TooLarge | Self::Refused(_) | Self::PolicyChanged)
    }

    /// What the engine said, for the log.
    pub fn cause(&self) -> &str {
        match self {
            Self::Unavailable(why)
            | Self::Unknown(why)
            | Self::Denied(why)
            | Self::Refused(why) => why,
            Self::UnknownTopic => "the topic does not exist",
            Self::TooLarge => "the record is too large",
            Self::PolicyChanged => "the policy changed",
        }
    }
}

/// A record read back.
pub struct Stored {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    pub headers: Vec<Header>,
    pub value: Option<Bytes>,
}

impl Stored {
    pub fn bytes(&self) -> usize {
        let headers = bytes_of(&self.headers);
        let length = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        length(&self.key) + length(&self.value) + headers
    }
}

/// One stretch of a partition.
pub struct Page {
    pub records: Vec<Stored>,
    /// The offset that the next record of the partition will get.
    pub end: i64,
}
