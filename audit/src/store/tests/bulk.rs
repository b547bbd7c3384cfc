//! A valid chain, written in bulk: rows of one intent of one event, and of its outcome, in turn.

use crate::{
    Actor, At, Copied, Digest16, Digest32, Entry, Fate, Filter, Intent, Leaf, Link, ManifestLeaf,
    Outcome, Placement, Position, Present, Row, SearchDigest, SegmentOpen, Treatment, WriterId,
    detail_digest, genesis, link_of,
    row::{encode_manifest, leaf_bytes},
    store::{Commit, Edge, NewRow, Store},
    tree,
};

pub(super) const START_US: i64 = 1_700_000_000_000_000;
pub(super) const EVENT_US: i64 = 1_000;
const ORIGIN: &str = "test.example/ledger";
const SOURCES: u64 = 200;

pub(super) fn token_of(event: u64) -> SearchDigest {
    digest(b"token", event)
}

pub(super) fn source_of(device: u64) -> SearchDigest {
    digest(b"device", device)
}

fn digest(kind: &[u8], n: u64) -> SearchDigest {
    let mut digest = [0; 16];
    let hash = blake3::Hasher::new().update(kind).update(&n.to_be_bytes()).finalize();
    digest.copy_from_slice(&hash.as_bytes()[..16]);
    digest
}

pub(super) struct Chain {
    writer: WriterId,
    next: u64,
    head: Option<Link>,
}

impl Chain {
    pub(super) fn of(writer: u8) -> Self {
        Self { writer: WriterId([writer; 16]), next: 0, head: None }
    }

    /// Until it has so many rows, some in each transaction.
    pub(super) async fn grow(&mut self, store: &dyn Store, rows: u64, chunk: u64) {
        let treatment = detail_digest(&treatment());
        while self.next < rows {
            let mut commit = Commit { details: vec![treatment.clone()], ..Commit::default() };
            while self.next < rows && (commit.rows.len() as u64) < chunk {
                self.row(&mut commit, treatment.0);
            }
            store.commit(self.writer, "node", &commit).await.unwrap();
        }
    }

    fn row(&mut self, commit: &mut Commit, treatment: [u8; 32]) {
        let (event, is_intent) = (self.next / 2, self.next.is_multiple_of(2));
        let mut leaves = vec![];
        let mut filter = vec![];
        let entry = if is_intent {
            let source = vec![Digest16(source_of(event % SOURCES))];
            let tokens = vec![Digest16(token_of(event))];
            filter = Filter::of([source[0].0, tokens[0].0].iter()).as_bytes().to_vec();
            let fate = Fate::Deliver(vec![Copied { treatment: 0, present: Present::of([]) }]);
            leaves.push(leaf_bytes(&Leaf { seq: 0, fate, source, tokens, count: 1 }));
            Entry::Intent(intent(treatment))
        } else {
            Entry::Outcome(self.outcome(event, commit))
        };
        let opens = Entry::SegmentOpen(SegmentOpen {
            segment: 1,
            key: "search".into(),
            check: [1; 16],
            heads: vec![],
        });
        let entries = if self.next == 0 { vec![opens, entry] } else { vec![entry] };
        let prev = self.head.unwrap_or_else(|| genesis(ORIGIN, self.writer));
        let t_us = START_US + i64::try_from(event).unwrap() * EVENT_US;
        let row = Row {
            origin: ORIGIN.into(),
            writer: self.writer,
            wseq: self.next,
            prev,
            t_us,
            t_err_us: 0,
            clock: "test".into(),
            segment: 1,
            entries,
            leaves: leaves.len() as u32,
            root: tree::root(leaves.iter().map(Vec::as_slice)),
        };
        let bytes = row.encode();
        let link = link_of(&bytes);
        let kept: Vec<_> = leaves.iter().map(|leaf| ManifestLeaf::Kept(leaf)).collect();
        let manifest = (!kept.is_empty()).then(|| (encode_manifest(kept), filter));
        let wseq = self.next;
        commit.rows.push(NewRow { wseq, t_us, segment: 1, bytes, prev, link, manifest });
        (self.next, self.head) = (self.next + 1, Some(link));
    }

    fn outcome(&self, event: u64, commit: &mut Commit) -> Outcome {
        let (region, topic) = ("eu".to_owned(), "shop.orders".to_owned());
        let offset = i64::try_from(event).unwrap();
        let of = (self.writer, self.next - 1);
        commit.edges.push(Edge {
            region: region.clone(),
            topic: topic.clone(),
            partition: 3,
            offset_from: offset,
            offset_to: offset,
            of,
            wseq: self.next,
        });
        let at = vec![At::one(offset, 0)];
        let placed = vec![Placement { region, topic, partition: 3, at }];
        let of = Position { writer: of.0, wseq: of.1, leaf: 0 };
        Outcome { of, placed, missing: vec![], repeat_of: vec![], complete: true }
    }
}

fn intent(treatment: [u8; 32]) -> Intent {
    Intent {
        request: [5; 16],
        actor: Actor { id: "till-7".into(), by: "mtls".into() },
        origin: [1; 16],
        purpose: "fulfilment".into(),
        dataset: "orders".into(),
        topic: "shop.orders".into(),
        policy: [9; 32],
        rules: vec!["tills-publish".into()],
        treatments: vec![Digest32(treatment)],
        first_leaf: 0,
        leaves: 1,
        records: 1,
        batch: vec![],
    }
}

fn treatment() -> Treatment {
    Treatment {
        region: "eu".into(),
        jurisdiction: "DE".into(),
        rules: vec!["orders-to-eu".into()],
        transforms: vec![],
        keys: vec![],
        transfer: vec![],
        withheld: vec![],
        topic: None,
    }
}
