//! What is this record about? The subject's jurisdiction, and the source that the producer
//! declares (device, model version, calibration …), found where the dataset says they are.
//!
//! A record whose jurisdiction is missing or unknown is refused: there is no default country.

use std::sync::Arc;

use sluicegate_policies::{
    Dataset, EventTime, EventUnit, FieldPath, Grant, JurisdictionId, JurisdictionSource, Part,
    RefusalCode, Step, Table,
};
use sluicegate_protect::{Found, Misread, Probe, fixed_point};

use crate::record::{Record, Refused};

/// A declared source value longer than this is no identifier of a device or version.
const SOURCE_BYTES_MAX: usize = 256;

/// What a dataset asks of each record, compiled: all of it is found in one pass.
pub struct Classifier {
    probe: Probe,
    /// The jurisdiction's path, the event time's, the sources', in this order.
    paths: Box<[FieldPath]>,
    jurisdiction: bool,
    event_time: Option<EventUnit>,
    sources: Box<[Arc<str>]>,
}

/// What is known of a record before it is decided.
#[derive(Clone, Copy)]
pub struct Classified {
    pub jurisdiction: JurisdictionId,
    /// When it happened, if the dataset says where to find that.
    pub event_ms: Option<i64>,
}

impl Classifier {
    pub fn new(dataset: &Dataset) -> Self {
        let jurisdiction = match &dataset.jurisdiction {
            JurisdictionSource::Field(path) => Some(path),
            JurisdictionSource::Fixed(_) | JurisdictionSource::Principal => None,
        };
        let event_time = dataset.event_time.as_ref();
        let paths = jurisdiction
            .into_iter()
            .chain(event_time.map(|EventTime { path, .. }| path))
            .chain(dataset.lineage.iter().map(|(_, path)| path));
        let paths: Box<[FieldPath]> = paths.cloned().collect();
        Self {
            probe: Probe::new(&paths.iter().collect::<Vec<_>>()),
            paths,
            jurisdiction: jurisdiction.is_some(),
            event_time: event_time.map(|EventTime { unit, .. }| *unit),
            sources: dataset.lineage.iter().map(|(name, _)| name.clone()).collect(),
        }
    }

    /// Reads a record once. Where that works, its source is in `found`, also if it is refused.
    pub fn classify(
        &self,
        record: &Record,
        grant: &Grant<'_>,
        table: &Table,
        found: &mut Found,
    ) -> Result<Classified, Refused> {
        self.probe.run(record.as_ref(), found).map_err(|misread| self.misread(misread))?;
        let jurisdiction = self.jurisdiction(grant, table, found)?;
        if let Some((name, path)) = self.too_long(found) {
            let detail =
                format!("declared source `{name}` is longer than {SOURCE_BYTES_MAX} bytes");
            return Err(invalid(Some(pointer(path)), &detail));
        }
        let event_ms = self.event_time.map(|unit| self.event_time(unit, found)).transpose()?;
        Ok(Classified { jurisdiction, event_ms })
    }

    /// The source that a record declares: names and values.
    pub fn source<'f>(&'f self, found: &'f Found) -> impl Iterator<Item = (&'f str, &'f str)> {
        let first = self.first_source();
        let sources = (first..).zip(&*self.sources);
        sources.filter_map(|(n, name)| Some((&**name, found.text(n)?)))
    }

    fn first_source(&self) -> usize {
        self.paths.len() - self.sources.len()
    }

    fn too_long(&self, found: &Found) -> Option<(&Arc<str>, &FieldPath)> {
        let sources = self.sources.iter().zip(self.paths.iter().skip(self.first_source()));
        let mut numbered = (self.first_source()..).zip(sources);
        let is_long = |n| found.text(n).is_some_and(|value| value.len() > SOURCE_BYTES_MAX);
        numbered.find(|(n, _)| is_long(*n)).map(|(_, source)| source)
    }

    fn misread(&self, Misread { path, malformed }: Misread) -> Refused {
        let header = path.and_then(|n| self.paths.get(n));
        let header = header.filter(|path| matches!(path.part, Part::Header(_)));
        invalid(header.map(|path| path.written.to_string()), &malformed.to_string())
    }

    /// A dataset that declares an event time gets it from every record: without it, nothing could
    /// say which window the record belongs to.
    fn event_time(&self, unit: EventUnit, found: &Found) -> Result<i64, Refused> {
        let number = usize::from(self.jurisdiction);
        let path = self.paths.get(number);
        let place = || path.map(pointer);
        let text =
            found.text(number).ok_or_else(|| invalid(place(), "the record has no event time"))?;
        let parsed = match unit {
            EventUnit::Rfc3339 => text.parse::<jiff::Timestamp>().ok().map(|t| t.as_millisecond()),
            EventUnit::Seconds => fixed_point(text, 3),
            EventUnit::Millis => fixed_point(text, 0),
            EventUnit::Micros => fixed_point(text, 0).map(|us| us.div_euclid(1_000)),
        };
        let wanted = match unit {
            EventUnit::Rfc3339 => "a date and time with an offset, such as 2026-11-02T10:00:00Z",
            EventUnit::Seconds => "a number of seconds since 1970",
            EventUnit::Millis => "a number of milliseconds since 1970",
            EventUnit::Micros => "a number of microseconds since 1970",
        };
        parsed.ok_or_else(|| {
            let written = path.map_or("", |path| &path.written);
            invalid(place(), &format!("the event time in `{written}` is not {wanted}"))
        })
    }

    fn jurisdiction(
        &self,
        grant: &Grant<'_>,
        table: &Table,
        found: &Found,
    ) -> Result<JurisdictionId, Refused> {
        match &grant.dataset().jurisdiction {
            JurisdictionSource::Fixed(id) => Ok(*id),
            JurisdictionSource::Principal => grant.principal_jurisdiction().ok_or_else(|| {
                unknown(None, "the principal has no jurisdiction in the vocabulary")
            }),
            JurisdictionSource::Field(path) => {
                let pointer = || Some(pointer(path));
                let text = found.text(0);
                let text =
                    text.ok_or_else(|| unknown(pointer(), "the record has no jurisdiction"))?;
                table.jurisdiction(text).ok_or_else(|| {
                    unknown(pointer(), "the record's jurisdiction is not in the vocabulary")
                })
            }
        }
    }
}

/// The place as a JSON pointer (RFC 6901) where the path names one place; else as it was written.
fn pointer(path: &FieldPath) -> String {
    let member = |step: &Step| match step {
        Step::Member(name) => Some(name.replace('~', "~0").replace('/', "~1")),
        _ => None,
    };
    let members: Option<Vec<String>> = path.steps.iter().map(member).collect();
    match (&path.part, members) {
        (Part::Value, Some(members)) => members.iter().map(|name| format!("/{name}")).collect(),
        _ => path.written.to_string(),
    }
}

fn unknown(pointer: Option<String>, detail: &str) -> Refused {
    Refused {
        code: RefusalCode::UnknownJurisdiction,
        rule: None,
        pointer,
        detail: Arc::from(detail),
        help: Some(Arc::from("send an ISO 3166 country code that the vocabulary lists")),
    }
}

fn invalid(pointer: Option<String>, detail: &str) -> Refused {
    Refused {
        code: RefusalCode::InvalidValue,
        rule: None,
        pointer,
        detail: Arc::from(detail),
        help: None,
    }
}
