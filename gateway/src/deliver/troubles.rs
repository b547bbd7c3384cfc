//! What is wrong with regions and topics now, so that the log has one line, with its cause, for
//! each change of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    record::{DeliverError, Placed},
    telemetry::{CAUSE_BYTES_MAX, cut},
};

/// Troubles that are remembered; more are not logged one by one.
const TROUBLES_MAX: usize = 1_000;
/// A trouble is over when it did not show for this long, so that one of several partitions that
/// fails makes no line per batch.
const QUIET: Duration = Duration::from_secs(5);

struct Trouble {
    what: &'static str,
    seen: Instant,
}

/// A region, and the topic where the trouble is that topic's alone.
type Place = (Arc<str>, Option<Arc<str>>);

#[derive(Default)]
pub(super) struct Troubles(Mutex<BTreeMap<Place, Trouble>>);

impl Troubles {
    /// Notes how a region, or one of its topics, was found.
    pub(super) fn note(
        &self,
        region: &Arc<str>,
        topic: Option<&Arc<str>>,
        found: Option<&DeliverError>,
    ) {
        self.note_at(Instant::now(), region, topic, found);
    }

    fn note_at(
        &self,
        now: Instant,
        region: &Arc<str>,
        topic: Option<&Arc<str>>,
        found: Option<&DeliverError>,
    ) {
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if found.is_none() && troubles.is_empty() {
            return;
        }
        let at = (region.clone(), topic.cloned());
        let name = topic.map(tracing::field::display);
        let known = troubles.get(&at).map(|trouble| (trouble.what, trouble.seen));
        let Some(error) = found else {
            if known.is_some_and(|(_, seen)| now.duration_since(seen) >= QUIET) {
                troubles.remove(&at);
                tracing::info!(event = "region-available", %region, topic = name);
            }
            return;
        };
        let what = match error {
            // Whether a record was on its way when its region failed is that record's luck.
            DeliverError::Unknown(_) => "pipeline-unavailable",
            error => error.code(),
        };
        if known.is_none() && troubles.len() >= TROUBLES_MAX {
            return;
        }
        troubles.insert(at, Trouble { what, seen: now });
        if known.is_none_or(|(before, _)| before != what) {
            let why = cut(error.cause().to_owned(), CAUSE_BYTES_MAX);
            tracing::warn!(event = "region-unavailable", %region, topic = name, code = what, why);
        }
    }

    /// Notes what deliveries say of their topic. A record that is refused for itself says nothing.
    pub(super) fn note_results(
        &self,
        region: &Arc<str>,
        topic: &Arc<str>,
        results: &[Result<Placed, DeliverError>],
    ) {
        let error = results.iter().find_map(|r| r.as_ref().err().filter(|e| e.is_retriable()));
        if error.is_some() || results.iter().any(Result::is_ok) {
            self.note(region, Some(topic), error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::Instant;

    use super::{QUIET, Troubles};
    use crate::record::DeliverError;

    impl Troubles {
        fn now(&self) -> Vec<(Option<Arc<str>>, &'static str)> {
            let troubles = self.0.lock().unwrap();
            troubles.iter().map(|((_, topic), trouble)| (topic.clone(), trouble.what)).collect()
        }
    }

    #[test]
    fn a_trouble_lasts_until_it_has_been_quiet() {
        let (troubles, eu, topic) = (Troubles::default(), Arc::from("eu"), Arc::from("orders"));
        let (down, unknown) =
            (DeliverError::Unavailable("x".to_owned()), DeliverError::Unknown("x".to_owned()));
        let start = Instant::now();
        let note = |topic, found| troubles.note_at(start, &eu, topic, found);
        note(Some(&topic), Some(&down));
        // The next batch meets another partition, and the one after it this one again.
        note(Some(&topic), None);
        note(Some(&topic), Some(&unknown));
        assert_eq!(troubles.now(), [(Some(topic.clone()), "pipeline-unavailable")]);
        note(Some(&topic), Some(&DeliverError::UnknownTopic));
        note(None, Some(&down));
        let both =
            [(None, "pipeline-unavailable"), (Some(topic.clone()), "pipeline-unknown-topic")];
        assert_eq!(troubles.now(), both);
        troubles.note_at(start + QUIET, &eu, Some(&topic), None);
        troubles.note_at(start + QUIET, &eu, None, None);
        assert_eq!(troubles.now(), []);
    }
}
