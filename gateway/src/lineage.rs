//! Questions to the ledger, as the command line and the admin listener ask them. The store is
//! opened for reading, beside a running writer or without one.

use std::sync::Arc;

use arc_swap::ArcSwap;
use sluicegate_audit as audit;
use sluicegate_audit::lineage::Answer;
use tokio::sync::OnceCell;

use crate::{
    config::{Config, StoreUrlError},
    decide::{ReloadError, digests_of},
    digests::Digests,
};

/// One question.
#[derive(Clone, PartialEq, Eq)]
pub enum Question {
    Record { region: Option<String>, topic: String, partition: u32, offset: i64 },
    Token(String),
    Affected { name: String, value: String, from_us: i64, to_us: i64 },
    Verify,
}

/// A question that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQuestion {
    #[error("a source is written KEY=VALUE")]
    Source,
    #[error("a moment is written in RFC 3339, such as 2026-11-23T10:00:00Z")]
    Moment,
    #[error("a record is written TOPIC/PARTITION/OFFSET")]
    Record,
}

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub enum LineageError {
    #[error(transparent)]
    Store(#[from] audit::StoreError),
    #[error(transparent)]
    Url(#[from] StoreUrlError),
    #[error(transparent)]
    Keys(#[from] ReloadError),
}

impl Question {
    /// `TOPIC/PARTITION/OFFSET`.
    pub fn record(region: Option<String>, text: &str) -> Result<Self, BadQuestion> {
        let mut parts = text.rsplitn(3, '/');
        let (Some(offset), Some(partition), Some(topic)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(BadQuestion::Record);
        };
        let partition = partition.parse().map_err(|_| BadQuestion::Record)?;
        let offset = offset.parse().map_err(|_| BadQuestion::Record)?;
        Ok(Self::Record { region, topic: topic.to_owned(), partition, offset })
    }

    /// `KEY=VALUE`, from (included) and to (excluded) as RFC 3339 texts.
    pub fn affected(
        source: &str,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<Self, BadQuestion> {
        let named = source.split_once('=').filter(|(name, _)| !name.is_empty());
        let (name, value) = named.ok_or(BadQuestion::Source)?;
        let moment = |text: Option<&str>, default| match text {
            None => Ok(default),
            Some(text) => rfc3339_us(text).ok_or(BadQuestion::Moment),
        };
        Ok(Self::Affected {
            name: name.to_owned(),
            value: value.to_owned(),
            from_us: moment(from, i64::MIN)?,
            to_us: moment(to, i64::MAX)?,
        })
    }

    /// What kind of question, for the ledger.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Record { .. } => "lineage.record",
            Self::Token(_) => "lineage.token",
            Self::Affected { .. } => "lineage.affected",
            Self::Verify => "verify",
        }
    }

    /// The question's words, of which the ledger keeps a keyed digest.
    pub fn words(&self) -> String {
        match self {
            Self::Record { region, topic, partition, offset } => {
                let region = region.as_deref().unwrap_or_default();
                format!("{region} {topic}/{partition}/{offset}")
            }
            Self::Token(token) => token.clone(),
            Self::Affected { name, value, from_us, to_us } => {
                format!("{name}={value} {from_us} {to_us}")
            }
            Self::Verify => String::new(),
        }
    }
}

/// Asks a configured ledger.
pub struct Lineage {
    url: audit::Url,
    /// All search keys are asked.
    digests: Arc<ArcSwap<Digests>>,
    /// Opened by the first question, for all that follow.
    store: OnceCell<audit::lineage::Lineage>,
}

impl Lineage {
    pub fn new(url: audit::Url, digests: Arc<ArcSwap<Digests>>) -> Self {
        Self { url, digests, store: OnceCell::new() }
    }

    pub async fn of(config: &Config) -> Result<Self, LineageError> {
        let digests = Arc::new(ArcSwap::from_pointee(digests_of(config).await?));
        Ok(Self::new(config.ledger.url()?, digests))
    }

    /// Answers a question other than [`Question::Verify`], which finds nothing here.
    pub async fn ask(&self, question: &Question) -> Result<Answer, LineageError> {
        let open = || audit::lineage::Lineage::open(&self.url);
        let lineage = self.store.get_or_try_init(open).await?;
        let digests = self.digests.load_full();
        Ok(match question {
            Question::Record { region, topic, partition, offset } => {
                lineage.record(region.as_deref(), topic, *partition, *offset).await?
            }
            Question::Token(token) => lineage.token(&digests.tokens(token)).await?,
            Question::Affected { name, value, from_us, to_us } => {
                lineage.affected(&digests.sources(name, value), *from_us, *to_us).await?
            }
            Question::Verify => Answer::default(),
        })
    }

    pub async fn verify(&self) -> Result<audit::verify::Verdict, LineageError> {
        Ok(audit::verify_store(&self.url, |_| {}).await?)
    }
}

/// RFC 3339 to microseconds since 1970. Days from a civil date after Howard Hinnant's
/// `days_from_civil`.
fn rfc3339_us(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00:00Z"));
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (time, offset_s) = zone(time)?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let in_range = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second)
        && (0..=9_999).contains(&year);
    if !in_range || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let micros = format!("{fraction:0<6}").get(..6)?.parse::<i64>().ok()?;
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset_s;
    seconds.checked_mul(1_000_000)?.checked_add(micros)
}

/// The time without its zone, and the zone's offset in seconds.
fn zone(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let at = time.rfind(['+', '-'])?;
    let (time, zone) = time.split_at_checked(at)?;
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let (hours, minutes) = (hours.parse::<i64>().ok()?, minutes.parse::<i64>().ok()?);
    Some((time, sign * (hours * 3_600 + minutes * 60)))
}

fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let yoe = year.rem_euclid(400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let doy = (153 * shifted + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        for (text, us) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01", Some(0)),
            ("2024-02-29T00:00:00.000001Z", Some(1_709_164_800_000_001)),
            ("2024-02-29T02:00:00+02:00", Some(1_709_164_800_000_000)),
            ("1969-12-31T23:59:59.5Z", Some(-500_000)),
            ("2024-13-01T00:00:00Z", None),
            ("2024-02-29T00:00:00", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(rfc3339_us(text), us, "{text}");
        }
    }

    #[test]
    fn questions_are_read_from_text() {
        assert!(matches!(Question::record(None, "a/b/3/7"),
            Ok(Question::Record { topic, partition: 3, offset: 7, .. }) if topic == "a/b"));
        assert!(Question::record(None, "orders/3").is_err());
        assert!(Question::affected("device", None, None).is_err());
        assert!(Question::affected("device=a=b", Some("2026-01-01"), None).is_ok());
    }
}
