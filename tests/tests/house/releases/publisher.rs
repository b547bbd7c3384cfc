//! Whoever sends a known stream, through gateways that may die: each request again, under its idempotency key,
//! until it is answered.

use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use sluicegate_tests::{
    dice::Dice,
    releases::{Sent, Spec, Wards, now_ms},
};
use tokio::sync::watch;

/// What a publisher waits before it sends an unanswered request again.
const AGAIN: Duration = Duration::from_millis(30);
/// A request that gets no answer in this time, over all restarts, is a failure.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);
/// Records of one request.
const BATCH: usize = 12;

pub(super) struct Publisher {
    pub(super) client: Client,
    /// The gateways that run, or ran last.
    pub(super) at: watch::Receiver<Vec<String>>,
    /// In front of each idempotency key.
    pub(super) name: String,
    sent: u64,
    turn: usize,
    pub(super) retries: u64,
}

/// Records of one request and which of them the answer called late, when it was sent first, and when it was
/// answered.
pub(super) struct Answered {
    records: Vec<(Sent, bool)>,
    from_ms: i64,
    at_ms: i64,
}

impl Answered {
    /// Each record, and whether it counts in a revision of its pane: what the answer says, as far as it says it.
    /// Nobody knows of a record that was on its way while the revision closed.
    pub(super) fn counted(
        &self,
        spec: &Spec,
        revision: u32,
    ) -> impl Iterator<Item = (&Sent, Option<bool>)> {
        self.records.iter().map(move |(sent, late)| {
            let pane = spec.pane(sent.at_ms);
            let closes_ms = spec.closes_ms(pane, revision);
            // What is not late for the last revision counts if it is in the log before that is cut.
            let last = revision == *spec.revisions().end();
            let until_ms = if last { spec.fires_ms(pane, revision) } else { closes_ms };
            let counts = match (late, self.at_ms < until_ms, self.from_ms < closes_ms) {
                (true, ..) | (false, false, false) => Some(false),
                (false, true, _) => Some(true),
                (false, false, true) => None,
            };
            (sent, counts)
        })
    }

    pub(super) fn sent(&self) -> impl Iterator<Item = &Sent> {
        self.records.iter().map(|(sent, _)| sent)
    }
}

/// The records of a stream that count; none if nobody knows of one of them, on a machine that was too slow.
pub(super) fn counted(spec: &Spec, answered: &[Answered]) -> Option<Vec<Sent>> {
    let all = || answered.iter().flat_map(|answered| answered.counted(spec, 0));
    let known = all().all(|(_, counts)| counts.is_some());
    known.then(|| {
        all().filter(|(_, counts)| *counts == Some(true)).map(|(s, _)| s.clone()).collect()
    })
}

impl Publisher {
    pub(super) fn new(client: Client, at: watch::Receiver<Vec<String>>, name: &str) -> Self {
        Self { client, at, name: name.to_owned(), sent: 0, turn: 0, retries: 0 }
    }

    /// Of a gateway that stays.
    pub(super) fn of(client: Client, url: String) -> Self {
        Self::new(client, watch::channel(vec![url]).1, "p")
    }

    /// All of a stream in its order, in requests of a few records.
    pub(super) async fn send_all(&mut self, spec: &Spec, stream: &[Sent]) -> Vec<Answered> {
        let mut answered = Vec::new();
        for records in stream.chunks(BATCH) {
            answered.push(self.send(spec, records).await);
        }
        answered
    }

    /// One request.
    pub(super) async fn send(&mut self, spec: &Spec, records: &[Sent]) -> Answered {
        let body = Value::Array(records.iter().map(Sent::json).collect());
        let key = format!("\"{}-{}\"", self.name, self.sent);
        self.sent += 1;
        let (until, from_ms) = (Instant::now() + ANSWERED_WITHIN, now_ms());
        while Instant::now() < until {
            let gateways = self.at.borrow().clone();
            if !gateways.is_empty() {
                let gateway = &gateways[self.turn % gateways.len()];
                if let Some(late) = self.answered(spec, gateway, &key, &body).await {
                    let records = records.iter().cloned().zip(late).collect();
                    return Answered { records, from_ms, at_ms: now_ms() };
                }
            }
            self.turn += 1;
            self.retries += 1;
            tokio::time::sleep(AGAIN).await;
        }
        panic!("no answer to {key} within {ANSWERED_WITHIN:?}");
    }

    /// Which records are late.
    async fn answered(
        &self,
        spec: &Spec,
        gateway: &str,
        key: &str,
        body: &Value,
    ) -> Option<Vec<bool>> {
        let url = format!("{gateway}/v1/topics/{}/records", spec.dataset());
        let request = self.client.post(url).header("idempotency-key", key).json(body);
        let answer = request.timeout(Duration::from_secs(10)).send().await.ok()?;
        let status = answer.status();
        let text = answer.text().await.ok()?;
        if status != StatusCode::OK {
            assert!(matches!(status.as_u16(), 409 | 503), "{status}: {text}");
            return None;
        }
        let reports: Value = serde_json::from_str(&text).unwrap();
        let wanted = if spec.delivered { "delivered" } else { "aggregated" };
        let late = reports.as_array().unwrap().iter().map(|report| {
            assert_eq!(report["status"], json!(wanted), "{report}");
            report["not_counted"][0]["code"] == "late"
        });
        Some(late.collect())
    }
}

/// A stream into some panes that runs into every bound: subjects with too many records, with a second ward,
/// of an earlier pane, with wards that are no rows. `tag` tells its subjects from those of other streams;
/// `returning` are subjects that were counted before.
pub(super) fn stream(
    spec: &Spec,
    dice: &mut Dice,
    tag: &str,
    panes: &[i64],
    returning: &[Sent],
) -> Vec<Sent> {
    let mut stream: Vec<Sent> = Vec::new();
    for (number, pane) in panes.iter().enumerate() {
        let moment =
            |dice: &mut Dice| pane + i64::try_from(dice.below(spec.pane_ms as u64)).unwrap();
        for subject in 0..4 + dice.below(5) {
            let subject = format!("{tag}-{number}-{subject}");
            let ward = one_ward(spec, dice);
            for _ in 0..=dice.below(3) {
                let at = moment(dice);
                stream.push(Sent::new(&subject, ward, at));
            }
            match dice.below(4) {
                0 => {
                    let (ward, at) = (one_ward(spec, dice), moment(dice));
                    stream.push(Sent::new(&subject, ward, at));
                }
                1 => stream.push(Sent::new(&subject, "nowhere", moment(dice))),
                _ => {}
            }
        }
        let earlier: Vec<Sent> = stream.iter().chain(returning).cloned().collect();
        for _ in 0..2 {
            let again = &earlier[usize::try_from(dice.below(earlier.len() as u64)).unwrap()];
            let (ward, at) = (one_ward(spec, dice), moment(dice));
            stream.push(Sent::new(&again.subject, ward, at));
        }
    }
    stream
}

/// A stream in which each subject has one pane, so that what arrived too late changes no other pane. Where
/// panes are revised, some of it is late for their first release.
pub(super) fn passers_by(spec: &Spec, dice: &mut Dice, tag: &str, ahead_ms: u64) -> Vec<Sent> {
    let behind_ms = spec.revised_after_ms.map_or(0, |after_ms| after_ms + spec.lateness_ms);
    let mut stream = Vec::new();
    for subject in 0..=dice.below(3) {
        let any = dice.below(ahead_ms + u64::try_from(behind_ms).unwrap());
        let at = now_ms() + i64::try_from(any).unwrap() - behind_ms;
        for _ in 0..=dice.below(3) {
            stream.push(Sent::new(format!("{tag}-{subject}"), one_ward(spec, dice), at));
        }
    }
    stream
}

fn one_ward(spec: &Spec, dice: &mut Dice) -> &'static str {
    match &spec.wards {
        Wards::Public(wards) => dice.of(wards),
        Wards::Unknown(_) => dice.of(&["north", "south", "west"]),
    }
}
