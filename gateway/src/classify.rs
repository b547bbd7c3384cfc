//! What is this record about? The subject's jurisdiction, and the source that the producer
//! declares (device, model version, calibration …), found where the dataset says they are.
//!
//! A record whose jurisdiction is missing or unknown is refused: there is no default country.

use std::{borrow::Cow, sync::Arc};

use sluicegate_policies::{
    Dataset, EventTime, EventUnit, FieldPath, Grant, JurisdictionId, JurisdictionSource, Part,
    RefusalCode, Step, Table,
};
use sluicegate_protect as protect;

use crate::record::{Classified, Record, Refused};

/// A declared source value longer than this is no identifier of a device or version.
const SOURCE_BYTES_MAX: usize = 256;

pub fn classify(record: Record, grant: &Grant<'_>, table: &Table) -> Result<Classified, Refused> {
    let dataset = grant.dataset();
    let jurisdiction = jurisdiction(&record, dataset, grant, table)?;
    let source = source(&record, dataset)?;
    let event_ms = event_time(&record, dataset)?;
    Ok(Classified { record, jurisdiction, source, event_ms })
}

/// A dataset that declares an event time gets it from every record: without it, nothing could say
/// which window the record belongs to.
pub fn event_time(record: &Record, dataset: &Dataset) -> Result<Option<i64>, Refused> {
    let Some(EventTime { path, unit }) = &dataset.event_time else { return Ok(None) };
    let place = || Some(pointer(path));
    let text =
        find(path, record)?.ok_or_else(|| invalid(place(), "the record has no event time"))?;
    let parsed = match unit {
        EventUnit::Rfc3339 => text.parse::<jiff::Timestamp>().ok().map(|t| t.as_millisecond()),
        EventUnit::Seconds => protect::fixed_point(&text, 3),
        EventUnit::Millis => protect::fixed_point(&text, 0),
        EventUnit::Micros => protect::fixed_point(&text, 0).map(|us| us.div_euclid(1_000)),
    };
    let wanted = match unit {
        EventUnit::Rfc3339 => "a date and time with an offset, such as 2026-11-02T10:00:00Z",
        EventUnit::Seconds => "a number of seconds since 1970",
        EventUnit::Millis => "a number of milliseconds since 1970",
        EventUnit::Micros => "a number of microseconds since 1970",
    };
    let not_a_time = || {
        let detail = format!("the event time in `{}` is not {wanted}", path.written);
        invalid(place(), &detail)
    };
    let parsed = parsed.ok_or_else(not_a_time)?;
    Ok(Some(parsed))
}

fn jurisdiction(
    record: &Record,
    dataset: &Dataset,
    grant: &Grant<'_>,
    table: &Table,
) -> Result<JurisdictionId, Refused> {
    match &dataset.jurisdiction {
        JurisdictionSource::Fixed(id) => Ok(*id),
        JurisdictionSource::Principal => grant
            .principal_jurisdiction()
            .ok_or_else(|| unknown(None, "the principal has no jurisdiction in the vocabulary")),
        JurisdictionSource::Field(path) => {
            let pointer = || Some(pointer(path));
            let text = find(path, record)?
                .ok_or_else(|| unknown(pointer(), "the record has no jurisdiction"))?;
            table.jurisdiction(&text).ok_or_else(|| {
                unknown(pointer(), "the record's jurisdiction is not in the vocabulary")
            })
        }
    }
}

fn source(record: &Record, dataset: &Dataset) -> Result<Vec<(Arc<str>, String)>, Refused> {
    let mut source = Vec::with_capacity(dataset.lineage.len());
    for (name, path) in &dataset.lineage {
        if let Some(value) = find(path, record)? {
            if value.len() > SOURCE_BYTES_MAX {
                let detail =
                    format!("declared source `{name}` is longer than {SOURCE_BYTES_MAX} bytes");
                return Err(invalid(Some(pointer(path)), &detail));
            }
            source.push((name.clone(), value.into_owned()));
        }
    }
    Ok(source)
}

fn find<'a>(path: &FieldPath, record: &'a Record) -> Result<Option<Cow<'a, str>>, Refused> {
    protect::find(path, crate::flow::record_ref(record)).map_err(|malformed| {
        let header = matches!(path.part, Part::Header(_)).then(|| path.written.to_string());
        invalid(header, &malformed.to_string())
    })
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
