//! What the entries of a row and its leaves say: counts, fields that were present, transfers,
//! reads.

use std::{collections::BTreeSet, sync::Arc};

use super::{Stored, Verifier, What, outcomes::Due};
use crate::{
    Entry, Fate, Filter, Intent, Leaf, ManifestLeaf, Row, Transfer, TransferTerms, Treatment,
    row::{decode_leaf, decode_manifest, manifest_root},
};

/// What is kept in mind of a treatment.
pub(super) struct Known {
    fields: usize,
    region: Arc<str>,
    /// `None`: the intent's.
    topic: Option<Arc<str>>,
    transfer: Vec<TransferTerms>,
}

impl Known {
    pub(super) fn of(treatment: Treatment) -> Self {
        Self {
            fields: treatment.transforms.len(),
            region: treatment.region.into(),
            topic: treatment.topic.map(Arc::from),
            transfer: treatment.transfer,
        }
    }
}

/// The intents of a row, each with its treatments.
type Intents<'r> = Vec<(&'r Intent, Vec<Arc<Known>>)>;

impl Verifier {
    pub(super) fn meaning(&mut self, row: &Row, stored: &Stored<'_>) -> Result<(), What> {
        let beside = stored.beside.as_ref();
        if beside.is_some_and(|b| (b.t_us, b.segment) != (row.t_us, row.segment)) {
            return Err(What::Beside);
        }
        let intents = self.intents(row)?;
        let mut transfers = BTreeSet::new();
        for entry in &row.entries {
            match entry {
                Entry::Transfer(transfer) => {
                    if !transfers.insert((transfer.request, transfer.treatment)) {
                        return Err(What::Rule("a transfer is recorded twice"));
                    }
                    is_transfer_of(transfer, &intents)?;
                }
                Entry::Release(_) if row.leaves > 0 => {
                    return Err(What::Rule("a row has both a release and leaves"));
                }
                Entry::Read(read) => self.reads.read(read)?,
                Entry::ReadClosed(closed) => self.reads.closed((row.writer, row.wseq), closed)?,
                _ => {}
            }
        }
        match stored.manifest {
            Some(manifest) => self.leaves(row, &intents, manifest, beside.and_then(|b| b.filter)),
            None => {
                self.verdict.leaves_detached += u64::from(row.leaves);
                for (intent, _) in intents {
                    let unknown = (0..intent.leaves).map(|_| None);
                    self.outcomes.intent((row.writer, row.wseq), intent, unknown);
                }
                Ok(())
            }
        }
    }

    /// The intents cover the leaves of their row, in order.
    fn intents<'r>(&mut self, row: &'r Row) -> Result<Intents<'r>, What> {
        let mut covered = 0_u32;
        let mut intents = Intents::new();
        for entry in &row.entries {
            let Entry::Intent(intent) = entry else { continue };
            if intent.first_leaf != covered || intent.leaves == 0 {
                return Err(What::Rule("the intents' leaves are not exactly the row's leaves"));
            }
            if intent.records < intent.leaves {
                return Err(What::Rule("an intent has fewer records than leaves"));
            }
            if intent.batch.len() > 1 {
                return Err(What::Rule("an intent has more than one batch"));
            }
            covered = covered.saturating_add(intent.leaves);
            let known = |digest: &crate::Digest32| self.details.get(&digest.0).cloned();
            let known: Option<Vec<_>> = intent.treatments.iter().map(known).collect();
            intents.push((intent, known.ok_or(What::DetailMissing)?));
            self.verdict.records += u64::from(intent.records);
        }
        match covered == row.leaves {
            true => Ok(intents),
            false => Err(What::Rule("the intents' leaves are not exactly the row's leaves")),
        }
    }

    fn leaves(
        &mut self,
        row: &Row,
        intents: &Intents<'_>,
        manifest: &[u8],
        filter: Option<&[u8]>,
    ) -> Result<(), What> {
        let leaves = decode_manifest(manifest)?;
        if leaves.len() != row.leaves as usize || manifest_root(&leaves) != row.root {
            return Err(What::Manifest);
        }
        let mut rest = leaves.iter();
        let mut digests = filter.map(|_| Vec::new());
        for (intent, treatments) in intents {
            let topic: Arc<str> = intent.topic.as_str().into();
            let mut dues = Vec::new();
            let (mut records, mut forgotten) = (0_u32, 0_u32);
            for leaf in rest.by_ref().take(intent.leaves as usize) {
                let ManifestLeaf::Kept(bytes) = leaf else {
                    forgotten += 1;
                    dues.push(None);
                    continue;
                };
                let leaf = decode_leaf(bytes)?;
                records = records.saturating_add(leaf.count);
                if let Some(digests) = &mut digests {
                    digests.extend(leaf.source.iter().chain(&leaf.tokens).map(|d| d.0));
                }
                dues.push(Some(due(&leaf, treatments, &topic)?));
                self.count(&leaf);
            }
            // A leaf that is forgotten stood for at least one record.
            let least = records.saturating_add(forgotten);
            if least > intent.records || (forgotten == 0 && records != intent.records) {
                return Err(What::Rule("an intent's records are not the sum of its leaves'"));
            }
            self.verdict.leaves_detached += u64::from(forgotten);
            self.outcomes.intent((row.writer, row.wseq), intent, dues.into_iter());
        }
        match (filter, digests) {
            (Some(filter), Some(digests)) => is_filter_of(filter, &digests, &leaves),
            _ => Ok(()),
        }
    }

    fn count(&mut self, leaf: &Leaf) {
        let counted = match &leaf.fate {
            Fate::Deliver(_) => &mut self.verdict.delivered,
            Fate::Refuse(..) => &mut self.verdict.refused,
            Fate::Quarantine(_) | Fate::Aggregate(_) => &mut self.verdict.other_fates,
        };
        *counted += u64::from(leaf.count);
    }
}

/// What a leaf says fits its treatments; where its copies are to end.
fn due(leaf: &Leaf, treatments: &[Arc<Known>], topic: &Arc<str>) -> Result<Due, What> {
    if leaf.count == 0 || (leaf.count > 1 && !(leaf.source.is_empty() && leaf.tokens.is_empty())) {
        return Err(What::Rule("a run has no records, or digests of its own"));
    }
    let mut copies = Vec::new();
    for copied in leaf.fate.copies() {
        let Some(known) = treatments.get(copied.treatment as usize) else {
            return Err(What::Rule("a leaf refers to a treatment that its intent does not have"));
        };
        if !copied.present.fits(leaf.count, known.fields) {
            return Err(What::Rule("the fields that were present do not fit the treatment"));
        }
        copies.push((known.region.clone(), known.topic.clone().unwrap_or_else(|| topic.clone())));
    }
    let distinct: BTreeSet<_> = copies.iter().collect();
    if distinct.len() < copies.len() {
        return Err(What::Rule("two copies of a record go to the same topic of a region"));
    }
    Ok(Due { records: leaf.count, copies })
}

fn is_filter_of(
    filter: &[u8],
    digests: &[[u8; 16]],
    leaves: &[ManifestLeaf<'_>],
) -> Result<(), What> {
    let is_whole = leaves.iter().all(|leaf| leaf.kept().is_some());
    let stored = Filter::from_bytes(filter.to_vec());
    let fits = match is_whole {
        true => stored == Filter::of(digests.iter()),
        false => digests.iter().all(|digest| stored.may_hold(digest)),
    };
    if fits { Ok(()) } else { Err(What::Beside) }
}

/// A transfer is of a treatment that an intent of its row names, under that treatment's terms.
fn is_transfer_of(transfer: &Transfer, intents: &Intents<'_>) -> Result<(), What> {
    let ours = intents.iter().filter(|(intent, _)| intent.request == transfer.request);
    let named = ours.filter_map(|(intent, known)| {
        let n = intent.treatments.iter().position(|digest| *digest == transfer.treatment)?;
        Some((intent, known.get(n)?))
    });
    let fits = |(intent, known): (&&Intent, &Arc<Known>)| {
        let terms = |c: &TransferTerms| TransferTerms { categories: vec![], ..c.clone() };
        known.transfer.iter().any(|stated| {
            let mut categories = transfer.terms.categories.iter();
            terms(stated) == terms(&transfer.terms)
                && categories.all(|category| stated.categories.contains(category))
                && (1..=intent.records).contains(&transfer.records)
        })
    };
    let mut named = named;
    match named.any(fits) {
        true => Ok(()),
        false => Err(What::Rule("a transfer does not fit its intent and its treatment")),
    }
}
