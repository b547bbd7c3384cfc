//! The bytes of a release: one JSON message a row, and one that closes the pane.
//!
//! A message's Kafka key is its id, made of the release's name and the pane alone, so a compacted
//! topic keeps one copy of whatever is sent again, and a changed plan cannot publish a pane a
//! second time beside the first.
//!
//! INVARIANT: the same inputs give the same bytes. With fixed keys the length of each message is a
//! function of the plan: every released number is padded, with spaces before it, to the width of
//! the largest that its output can have.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use serde_json::{Map, Value};
use sluicegate_policies::{
    BundleDigest,
    release::{
        Accounting, Calendar, Dyadic, Keys, Noise, Output, PaneId, ReleasePlan, Unit, What, budget,
        rho_to_epsilon,
    },
};
use sluicegate_protect::json::write_string;

use super::{
    Message, Noisy, NoisyRow,
    smooth::{PLACES, Smoothed},
};

/// Domain separation of the ids, for ever.
const ID_CONTEXT: &str = "sluicegate 2026 release pane id v1";

/// Names one revision of one pane of one release: 32 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReleaseId(String);

impl ReleaseId {
    pub fn new(release: &str, pane: PaneId) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(ID_CONTEXT);
        hasher.update(&pane.start_ms.to_be_bytes());
        hasher.update(&pane.end_ms.to_be_bytes());
        hasher.update(&pane.revision.to_be_bytes());
        hasher.update(release.as_bytes());
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        Self(id.iter().fold(String::with_capacity(32), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Earlier panes of a release, as published. Of a pane with several revisions the newest counts.
#[derive(Clone, Debug, Default)]
pub struct PaneHistory {
    pub panes: BTreeMap<PaneId, Noisy>,
}

impl PaneHistory {
    /// The published pane that ends where this one begins.
    fn before(&self, pane: PaneId) -> Option<(PaneId, &Noisy)> {
        let here = PaneId { start_ms: pane.start_ms, end_ms: i64::MIN, revision: 0 };
        let (id, noisy) = self.panes.range(..here).next_back()?;
        (id.end_ms == pane.start_ms).then_some((*id, noisy))
    }
}

/// All messages of a pane, in order: its rows, then the end.
///
/// A hopping window is complete when `history` has all of its panes; otherwise it is left out and
/// the messages say so. Where a key was published in an earlier pane of the window but not in this
/// one, it has a row whose `values` are null.
pub fn messages(
    plan: &ReleasePlan,
    pane: PaneId,
    noisy: &Noisy,
    history: &PaneHistory,
    smoothed: Option<&Smoothed>,
    policy: BundleDigest,
) -> Vec<Message> {
    let id = ReleaseId::new(&plan.name, pane);
    let hopping = (plan.schedule.panes_per_window > 1)
        .then(|| Hopping::over(plan.schedule.panes_per_window, pane, noisy, history));
    let pane = Pane { plan, pane, id: &id, hopping, smoothed, about: about(plan, policy) };

    let mut out: Vec<_> = Vec::with_capacity(noisy.rows.len() + 1);
    for row in &noisy.rows {
        out.push(pane.row(out.len(), &row.key, Some(&row.values)));
    }
    for key in pane.only_earlier(noisy) {
        out.push(pane.row(out.len(), key, None));
    }
    out.push(pane.end(out.len()));
    out
}

/// The sums of a hopping window. In `i128`: as many noisy values as a window has panes.
struct Hopping {
    panes: u32,
    start_ms: i64,
    /// None where a pane is missing.
    sums: Option<BTreeMap<Arc<str>, Sum>>,
}

#[derive(Default)]
struct Sum {
    /// In how many panes of the window the key was published.
    panes: u32,
    values: Vec<i128>,
}

impl Hopping {
    fn over(panes: u32, newest: PaneId, noisy: &Noisy, history: &PaneHistory) -> Self {
        let mut sums = BTreeMap::new();
        add(&mut sums, noisy);
        let mut oldest = newest;
        for _ in 1..panes {
            let Some((pane, noisy)) = history.before(oldest) else {
                return Self { panes, start_ms: oldest.start_ms, sums: None };
            };
            add(&mut sums, noisy);
            oldest = pane;
        }
        Self { panes, start_ms: oldest.start_ms, sums: Some(sums) }
    }
}

fn add(sums: &mut BTreeMap<Arc<str>, Sum>, noisy: &Noisy) {
    for row in &noisy.rows {
        let sum = sums.entry(row.key.clone()).or_default();
        sum.panes += 1;
        sum.values.resize(sum.values.len().max(row.values.len()), 0);
        for (sum, value) in sum.values.iter_mut().zip(&row.values) {
            *sum += i128::from(*value);
        }
    }
}

struct Pane<'a> {
    plan: &'a ReleasePlan,
    pane: PaneId,
    id: &'a ReleaseId,
    hopping: Option<Hopping>,
    smoothed: Option<&'a Smoothed>,
    /// The members that all messages of the pane share.
    about: Vec<u8>,
}

impl Pane<'_> {
    fn only_earlier<'s>(&'s self, noisy: &Noisy) -> Vec<&'s Arc<str>> {
        let Some(Hopping { sums: Some(sums), .. }) = &self.hopping else { return Vec::new() };
        let mut keys: BTreeMap<&Arc<str>, ()> = sums.keys().map(|key| (key, ())).collect();
        for row in &noisy.rows {
            keys.remove(&row.key);
        }
        keys.into_keys().collect()
    }

    fn row(&self, number: usize, key: &Arc<str>, values: Option<&[i64]>) -> Message {
        let id = format!("{}-{number}", self.id.as_str());
        let mut json = self.open("row", &id);
        let _ = write!(json, ",\"row\":{number},\"key\":");
        json.string(key);
        json.text(",\"values\":");
        let values: Option<Vec<_>> = values.map(|v| v.iter().copied().map(i128::from).collect());
        self.numbers(&mut json, values.as_deref(), 1, 0);
        if let Some(smoothed) = self.smoothed {
            json.text(",\"smoothed\":");
            self.numbers(&mut json, smoothed.by_key.get(key).map(Vec::as_slice), 1_000, PLACES);
        }
        if let Some(hopping) = &self.hopping {
            let sum = hopping.sums.as_ref().and_then(|sums| sums.get(key));
            self.open_hopping(&mut json, hopping);
            if let Some(sum) = sum {
                let _ = write!(json, ",\"panes_with_key\":{},\"values\":", sum.panes);
                self.numbers(&mut json, Some(&sum.values), i128::from(hopping.panes), 0);
            }
            json.text("}");
        }
        self.close(json, &id)
    }

    fn end(&self, rows: usize) -> Message {
        let id = format!("{}-end", self.id.as_str());
        let mut json = self.open("window", &id);
        let _ = write!(json, ",\"rows\":{rows}");
        if let Some(hopping) = &self.hopping {
            self.open_hopping(&mut json, hopping);
            json.text("}");
        }
        self.close(json, &id)
    }

    fn open(&self, kind: &str, id: &str) -> Json {
        let mut json = Json(Vec::with_capacity(self.about.len() + 512));
        let _ = write!(json, "{{\"type\":\"{kind}\",\"release\":");
        json.string(&self.plan.name);
        let release_id = self.id.as_str();
        let _ = write!(json, ",\"release_id\":\"{release_id}\",\"id\":\"{id}\",\"window\":{{");
        json.span(self.pane.start_ms, self.pane.end_ms);
        let _ = write!(json, "}},\"revision\":{}", self.pane.revision);
        json
    }

    /// Leaves the object open.
    fn open_hopping(&self, json: &mut Json, hopping: &Hopping) {
        let complete = hopping.sums.is_some();
        let _ = write!(json, ",\"hopping\":{{\"panes\":{},\"complete\":{complete}", hopping.panes);
        if complete {
            json.text(",");
            json.span(hopping.start_ms, self.pane.end_ms);
        }
    }

    fn close(&self, mut json: Json, id: &str) -> Message {
        json.0.extend_from_slice(&self.about);
        Message { key: id.as_bytes().to_vec(), value: json.0 }
    }

    /// `{"subjects":   12, …}` or `null`; each number at its output's full width, which is that of
    /// the largest released one times `times`, with `places` more decimal places.
    fn numbers(&self, json: &mut Json, values: Option<&[i128]>, times: i128, places: u8) {
        let Some(values) = values else { return json.text("null") };
        json.text("{");
        for (at, (output, value)) in self.plan.outputs.iter().zip(values).enumerate() {
            json.text(if at == 0 { "" } else { "," });
            json.string(&output.name);
            let places = places.saturating_add(decimals(output));
            let width = decimal(i128::from(i64::MIN).saturating_mul(times), places).len();
            let _ = write!(json, ":{:>width$}", decimal(*value, places));
        }
        json.text("}");
    }
}

/// The end of every message: what the numbers mean and what they cost.
fn about(plan: &ReleasePlan, policy: BundleDigest) -> Vec<u8> {
    let mut json = Json(Vec::new());
    json.text(",\"mechanism\":{");
    each(&mut json, plan, |json, output| json.string(&mechanism(output.noise)));
    json.text("},\"error95\":{");
    each(&mut json, plan, |json, output| {
        json.text(&error95(output.noise).map_or("null".into(), |e| decimal(e, decimals(output))));
    });
    json.text("},\"unit\":");
    json.string(&unit(&plan.unit));
    let (spent, conversion) = (plan.release_cost(), conversion_atto(plan));
    // A release's part of it: smaller where epsilon follows from it, larger where it is told.
    let releases = u64::from(plan.releases_of_a_period().max(1));
    let (kind, loss, epsilon) = match plan.accounting {
        Accounting::Pure => ("pure", "nano_epsilon", spent.loss),
        Accounting::Zcdp => {
            ("zcdp", "nano_rho", rho_to_epsilon(spent.loss, (conversion / releases).max(1)))
        }
    };
    let _ = write!(
        json,
        ",\"epsilon\":{},\"delta\":{},\"accounting\":{{\"kind\":\"{kind}\",\"{loss}\":{}}}",
        trimmed(epsilon, 9),
        trimmed(spent.delta.saturating_add(conversion.div_ceil(releases)), 18),
        spent.loss
    );
    let promised = plan.promise.epsilon;
    let _ = write!(
        json,
        ",\"promise\":{{\"epsilon\":{},\"delta\":{}}},\"policy\":\"{policy}\"}}",
        decimal(promised.digits.into(), promised.scale),
        trimmed(plan.promise.delta_atto, 18)
    );
    json.0
}

/// What of the author's δ the conversion from zCDP takes; that of thresholds comes to it.
fn conversion_atto(plan: &ReleasePlan) -> u64 {
    let selects = matches!(plan.keys, Keys::Unknown { .. });
    let promise = plan.promise;
    budget(plan.accounting, promise.epsilon, promise.delta_atto, selects)
        .map_or(0, |budget| budget.conversion_delta_atto)
}

fn each(json: &mut Json, plan: &ReleasePlan, value: impl Fn(&mut Json, &Output)) {
    for (at, output) in plan.outputs.iter().enumerate() {
        json.text(if at == 0 { "" } else { "," });
        json.string(&output.name);
        json.text(":");
        value(json, output);
    }
}

/// `subject user.id per 24h`, `record`.
fn unit(unit: &Unit) -> String {
    match unit {
        Unit::Record => "record".to_owned(),
        Unit::Subject(subject) => {
            format!("subject {} per {}", subject.path.written, period(&subject.period))
        }
    }
}

const DAY_MS: i64 = 86_400_000;

fn period(calendar: &Calendar) -> String {
    let size_ms = calendar.size_ms();
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let fits = units.iter().find(|(ms, _)| size_ms % ms == 0);
    let length =
        fits.map_or_else(|| format!("{size_ms}ms"), |(ms, unit)| format!("{}{unit}", size_ms / ms));
    match calendar {
        Calendar::Local { size_ms: DAY_MS, zone, .. } => format!("day in {}", zone.0),
        Calendar::Local { size_ms, zone, .. } if size_ms % DAY_MS == 0 => {
            format!("{} days in {}", size_ms / DAY_MS, zone.0)
        }
        Calendar::Local { zone, .. } => format!("{length} in {}", zone.0),
        Calendar::Fixed { .. } => length,
    }
}

fn mechanism(noise: Noise) -> String {
    match noise {
        Noise::Laplace { scale } => format!("discrete-laplace scale={}", dyadic(scale)),
        Noise::Gaussian { sigma } => format!("discrete-gaussian sigma={}", dyadic(sigma)),
    }
}

/// Exact: `n / 2^20` is `n · 5^20 / 10^20`.
fn dyadic(value: Dyadic) -> String {
    let places = u8::try_from(Dyadic::SHIFT).unwrap_or(u8::MAX);
    let digits = i128::from(value.0) * 5_i128.pow(Dyadic::SHIFT);
    without_zeros(decimal(digits, places))
}

/// A whole number that the noise exceeds, in magnitude, at most one time in twenty. Laplace:
/// `Pr[|Z| > e] ≤ exp(-e/s)`, so `e ≥ s · ln 20`. Gaussian: `Pr[Z > e] ≤ Pr[N ≥ e]` (Canonne,
/// Kamath, Steinke 2020, proposition 25), so `e ≥ 1.96 σ`.
fn error95(noise: Noise) -> Option<i128> {
    let (scale, nano) = match noise {
        Noise::Laplace { scale } => (scale, 2_995_732_274),
        Noise::Gaussian { sigma } => (sigma, 1_959_963_985),
    };
    let one = 1_000_000_000_i128 << Dyadic::SHIFT;
    i128::from(scale.0).checked_mul(nano)?.checked_add(one - 1)?.checked_div(one)
}

fn decimals(output: &Output) -> u8 {
    match output.what {
        What::Sum { scale, .. } => scale,
        What::Subjects | What::Count => 0,
    }
}

/// `digits · 10^-places` with all of its places.
fn decimal(digits: i128, places: u8) -> String {
    let sign = if digits < 0 { "-" } else { "" };
    let places = usize::from(places);
    let text = format!("{:0>1$}", digits.unsigned_abs(), places + 1);
    match text.split_at_checked(text.len().saturating_sub(places)) {
        Some((whole, fraction)) if places > 0 => format!("{sign}{whole}.{fraction}"),
        _ => format!("{sign}{text}"),
    }
}

fn trimmed(digits: u64, places: u8) -> String {
    without_zeros(decimal(digits.into(), places))
}

fn without_zeros(text: String) -> String {
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// JSON in the making. Writing to memory does not fail.
struct Json(Vec<u8>);

impl Json {
    fn text(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn string(&mut self, text: &str) {
        write_string(text, &mut self.0);
    }

    fn span(&mut self, start_ms: i64, end_ms: i64) {
        let (start, end) = (rfc3339(start_ms), rfc3339(end_ms));
        let _ = write!(
            self,
            "\"start\":\"{start}\",\"end\":\"{end}\",\"start_ms\":{start_ms},\"end_ms\":{end_ms}"
        );
    }
}

impl std::fmt::Write for Json {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.text(text);
        Ok(())
    }
}

/// An instant in UTC, with milliseconds where it has them.
fn rfc3339(ms: i64) -> String {
    let (day, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let (year, month, date) = civil(day);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, milli) = (of_day / 1_000 % 60, of_day % 1_000);
    let fraction = if milli == 0 { String::new() } else { format!(".{milli:03}") };
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Year, month and day of a day since 1970-01-01. Years begin in March here, so that the leap day
/// is the last of its year.
fn civil(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let january = month >= 10;
    let month = if january { month - 9 } else { month + 3 };
    (era * 400 + year + i64::from(january), month, date)
}

/// A message, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    Row(DecodedRow),
    End { pane: PaneId, rows: usize },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedRow {
    pub pane: PaneId,
    pub number: usize,
    pub key: Arc<str>,
    /// None where only earlier panes of the hopping window published the key.
    pub values: Option<Vec<i64>>,
    pub smoothed: Option<Vec<i128>>,
    /// The sums of a complete hopping window.
    pub hopping: Option<Vec<i128>>,
}

/// Why bytes are not a message of a release. Names a member, never what it holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("not JSON")]
    NotJson,
    #[error("`{0}` is missing, or not as this release writes it")]
    Member(&'static str),
    #[error("a message of another release, or of the release under another name")]
    OtherRelease,
    #[error("the messages are not those of one whole pane, in order")]
    NotAPane,
}

/// Reads one message of `plan`'s release. Total: whatever the bytes, an answer.
pub fn decode(plan: &ReleasePlan, value: &[u8]) -> Result<Decoded, DecodeError> {
    let message: Map<String, Value> =
        serde_json::from_slice(value).map_err(|_| DecodeError::NotJson)?;
    let window = member(&message, "window")?.as_object().ok_or(DecodeError::Member("window"))?;
    let pane = PaneId {
        start_ms: integer(window, "start_ms")?,
        end_ms: integer(window, "end_ms")?,
        revision: integer(&message, "revision")?,
    };
    let id = ReleaseId::new(&plan.name, pane);
    if text(&message, "release")? != &*plan.name || text(&message, "release_id")? != id.as_str() {
        return Err(DecodeError::OtherRelease);
    }
    match text(&message, "type")? {
        "window" => Ok(Decoded::End { pane, rows: integer(&message, "rows")? }),
        "row" => Ok(Decoded::Row(DecodedRow {
            pane,
            number: integer(&message, "row")?,
            key: text(&message, "key")?.into(),
            values: released(plan, member(&message, "values")?)?,
            smoothed: match message.get("smoothed") {
                Some(smoothed) => fixed(plan, smoothed, PLACES, "smoothed")?,
                None => None,
            },
            hopping: match message.get("hopping").and_then(|h| h.get("values")) {
                Some(values) => fixed(plan, values, 0, "hopping")?,
                None => None,
            },
        })),
        _ => Err(DecodeError::Member("type")),
    }
}

/// A whole pane, read back from its stored messages: for the hopping windows and the smoothing of
/// the panes after it.
pub fn read_back<'a>(
    plan: &ReleasePlan,
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(PaneId, Noisy, Smoothed), DecodeError> {
    let (mut noisy, mut smoothed) = (Noisy { rows: Vec::new() }, Smoothed::default());
    let (mut seen, mut of) = (0, None);
    let mut values = values.into_iter();
    for value in values.by_ref() {
        let (pane, end) = match decode(plan, value)? {
            Decoded::End { pane, rows } => (pane, Some(rows)),
            Decoded::Row(row) if row.number == seen => {
                if let Some(values) = row.smoothed {
                    smoothed.by_key.insert(row.key.clone(), values);
                }
                if let Some(values) = row.values {
                    noisy.rows.push(NoisyRow { key: row.key, values });
                }
                (row.pane, None)
            }
            Decoded::Row(_) => return Err(DecodeError::NotAPane),
        };
        if *of.get_or_insert(pane) != pane {
            return Err(DecodeError::NotAPane);
        }
        match end {
            Some(rows) if rows == seen => {
                let last = values.next().is_none();
                return if last { Ok((pane, noisy, smoothed)) } else { Err(DecodeError::NotAPane) };
            }
            Some(_) => return Err(DecodeError::NotAPane),
            None => seen += 1,
        }
    }
    Err(DecodeError::NotAPane)
}

fn member<'m>(of: &'m Map<String, Value>, name: &'static str) -> Result<&'m Value, DecodeError> {
    of.get(name).ok_or(DecodeError::Member(name))
}

fn text<'m>(of: &'m Map<String, Value>, name: &'static str) -> Result<&'m str, DecodeError> {
    member(of, name)?.as_str().ok_or(DecodeError::Member(name))
}

fn integer<T: std::str::FromStr>(
    of: &Map<String, Value>,
    name: &'static str,
) -> Result<T, DecodeError> {
    let Value::Number(number) = member(of, name)? else { return Err(DecodeError::Member(name)) };
    number.as_str().parse().map_err(|_| DecodeError::Member(name))
}

fn released(plan: &ReleasePlan, values: &Value) -> Result<Option<Vec<i64>>, DecodeError> {
    let Some(values) = fixed(plan, values, 0, "values")? else { return Ok(None) };
    let narrow = |v| i64::try_from(v).map_err(|_| DecodeError::Member("values"));
    values.into_iter().map(narrow).collect::<Result<_, _>>().map(Some)
}

/// The numbers of all outputs, as integers at their outputs' places and `places` more.
fn fixed(
    plan: &ReleasePlan,
    values: &Value,
    places: u8,
    name: &'static str,
) -> Result<Option<Vec<i128>>, DecodeError> {
    let values = match values {
        Value::Null => return Ok(None),
        Value::Object(values) if values.len() == plan.outputs.len() => values,
        _ => return Err(DecodeError::Member(name)),
    };
    let digits = |output: &Output| match values.get(&*output.name) {
        Some(Value::Number(n)) => digits(n.as_str(), places.saturating_add(decimals(output))),
        _ => None,
    };
    let all: Option<Vec<_>> = plan.outputs.iter().map(digits).collect();
    all.map(Some).ok_or(DecodeError::Member(name))
}

/// The reverse of [`decimal`]: exactly so many places.
fn digits(text: &str, places: u8) -> Option<i128> {
    let places = usize::from(places);
    let fraction = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    if fraction != places {
        return None;
    }
    text.replacen('.', "", 1).parse().ok()
}

#[cfg(test)]
mod tests;
