//! From `as` and `with` to a transform: which settings fit which transform, and what they mean.

use super::{Model, Template, resolve_randomize::randomize};
use crate::{
    diagnostic::Findings,
    document::{DateWord, Number, Otherwise, Protect, TransformWord, With},
    plan::{DatePart, Decimal, EventUnit, Generalize, Geo, Mask, Transform},
    source::{Located, Span},
};

/// Characters of a mask without `fill`.
const FILL: char = '*';
/// Decimal places of a `geo`: four are about ten meters.
const GEO_DECIMALS_MAX: u8 = 4;
/// Borders in one `edges`.
const EDGES_MAX: usize = 256;

pub(crate) fn otherwise(word: Otherwise) -> Template {
    Template::Fixed(match word {
        Otherwise::Drop => Transform::Drop,
        Otherwise::Redact => Transform::Redact,
    })
}

/// The transform of one entry; none when a mistake was reported.
pub(crate) fn template(
    model: &Model,
    p: &Protect,
    findings: &mut Findings<'_>,
) -> Option<Template> {
    let none = With::default();
    let (with, span) = match &p.with {
        Some(w) => (&w.value, w.span),
        None => (&none, p.transform.span),
    };
    let word = p.transform.value;
    let before = findings.errors();
    check_settings(word, with, span, findings);
    let fixed = match word {
        TransformWord::Keep => Some(Transform::Keep),
        TransformWord::Drop => Some(Transform::Drop),
        TransformWord::Redact => Some(Transform::Redact),
        TransformWord::Constant => constant(with, span, findings),
        TransformWord::Mask => mask(with, findings).map(Transform::Mask),
        TransformWord::Generalize => generalize(with, span, findings).map(Transform::Generalize),
        TransformWord::Geo => geo(with, span, findings).map(Transform::Geo),
        TransformWord::Tokenize => return tokenize(model, with, span, findings),
        TransformWord::Randomize => {
            randomize(with, span, findings).map(|r| Transform::Randomize(Box::new(r)))
        }
    };
    fixed.filter(|_| findings.errors() == before).map(Template::Fixed)
}

/// Refuses settings that the transform would silently ignore.
fn check_settings(word: TransformWord, w: &With, span: Span, findings: &mut Findings<'_>) {
    use TransformWord::{Constant, Generalize, Geo, Mask, Randomize, Tokenize};
    let settings: [(_, _, &[_]); _] = [
        ("value", w.value.is_some(), &[Constant]),
        ("first", w.first.is_some(), &[Mask]),
        ("last", w.last.is_some(), &[Mask]),
        ("fill", w.fill.is_some(), &[Mask]),
        ("email", w.email.is_some(), &[Mask]),
        ("length", w.length.is_some(), &[Mask]),
        ("domain", w.domain.is_some(), &[Tokenize, Randomize]),
        ("scope", w.scope.is_some(), &[Tokenize]),
        ("date", w.date.is_some(), &[Generalize]),
        ("unit", w.unit.is_some(), &[Generalize]),
        ("postal-code", w.postal_code.is_some(), &[Generalize]),
        ("ip", w.ip.is_some(), &[Generalize]),
        ("bucket", w.bucket.is_some(), &[Generalize]),
        ("edges", w.edges.is_some(), &[Generalize]),
        ("bound", w.bound.is_some(), &[Generalize]),
        ("decimals", w.decimals.is_some(), &[Geo, Randomize]),
        ("geohash", w.geohash.is_some(), &[Geo]),
        ("method", w.method.is_some(), &[Randomize]),
        ("epsilon", w.epsilon.is_some(), &[Randomize]),
        ("clamp", w.clamp.is_some(), &[Randomize]),
        ("other", w.other.is_some(), &[Randomize]),
        ("records-per-subject", w.records_per_subject.is_some(), &[Randomize]),
        ("period", w.period.is_some(), &[Randomize]),
        ("memoize", w.memoize.is_some(), &[Randomize]),
        ("subject", w.subject.is_some(), &[Randomize]),
        ("key", w.key.is_some(), &[Randomize]),
    ];
    for (key, given, owners) in settings {
        if given && !owners.contains(&word) {
            let owners: Vec<_> =
                owners.iter().map(|o| format!("`{}`", transform_word(*o))).collect();
            let word = transform_word(word);
            findings
                .error(span, format!("the setting `{key}` does not belong to `{word}`"))
                .help(format!("`{key}` belongs to {}", owners.join(" and ")));
        }
    }
}

/// The word for a transform, as authors write it.
pub(crate) fn transform_word(word: TransformWord) -> &'static str {
    match word {
        TransformWord::Keep => "keep",
        TransformWord::Drop => "drop",
        TransformWord::Redact => "redact",
        TransformWord::Constant => "constant",
        TransformWord::Mask => "mask",
        TransformWord::Tokenize => "tokenize",
        TransformWord::Generalize => "generalize",
        TransformWord::Geo => "geo",
        TransformWord::Randomize => "randomize",
    }
}

fn constant(w: &With, span: Span, findings: &mut Findings<'_>) -> Option<Transform> {
    let Some(value) = &w.value else {
        findings.error(span, "`constant` needs a value").help("add `with: { value: \"…\" }`");
        return None;
    };
    Some(Transform::Constant(value.0.to_string().into()))
}

fn mask(w: &With, findings: &mut Findings<'_>) -> Option<Mask> {
    let with = match &w.fill {
        None => FILL,
        Some(fill) => {
            let mut chars = fill.value.chars();
            let one = chars.next().filter(|c| chars.next().is_none() && !c.is_control());
            if one.is_none() {
                findings.error(fill.span, format!("`{}` is not a single character", fill.value));
            }
            one?
        }
    };
    Some(Mask {
        first: w.first.unwrap_or(0),
        last: w.last.unwrap_or(0),
        with,
        email: w.email.unwrap_or(false),
        length: w.length,
    })
}

fn tokenize(model: &Model, w: &With, span: Span, findings: &mut Findings<'_>) -> Option<Template> {
    let name = w.domain.as_ref().and_then(|d| {
        let value = d.0.value.as_str()?.to_owned();
        Some(Located { span: d.0.span, value })
    });
    let Some(name) = &name else {
        findings
            .error(span, "`tokenize` needs a token domain")
            .help("add `with: { domain: … }`, the name of a `TokenDomain`");
        return None;
    };
    let domain = model.domains.find(name, "token domain", findings)?;
    let own = model.domain_facts.get(domain)?.scope;
    Some(Template::Tokenize { domain, scope: w.scope.unwrap_or(own) })
}

fn generalize(w: &With, span: Span, findings: &mut Findings<'_>) -> Option<Generalize> {
    let given = [
        w.date.is_some(),
        w.postal_code.is_some(),
        w.ip.is_some(),
        w.bucket.is_some(),
        w.edges.is_some(),
        w.bound.is_some(),
    ];
    if given.iter().filter(|g| **g).count() != 1 {
        findings.error(span, "`generalize` needs exactly one kind of generalization").help(
            "add one of `date`, `postal-code`, `ip`, `bucket`, `edges`, `bound` under `with`",
        );
        return None;
    }
    if let Some(part) = w.date {
        let unit = w.unit.map_or(EventUnit::Rfc3339, EventUnit::from);
        return Some(Generalize::Date { part: date_part(part), unit });
    }
    if w.unit.is_some() {
        findings
            .error(span, "`unit` is for reading numbers as dates")
            .help("add `date`, or leave `unit` out");
        return None;
    }
    if let Some(keep) = w.postal_code {
        return Some(Generalize::PostalCode { keep });
    }
    if let Some(ip) = w.ip {
        return Some(Generalize::Ip { v4: ip.v4.unwrap_or(24), v6: ip.v6.unwrap_or(48) });
    }
    if let Some(width) = &w.bucket {
        return bucket(width, findings);
    }
    if let Some(edges) = &w.edges {
        return self::edges(edges, span, findings);
    }
    bound(w, span, findings)
}

fn date_part(word: DateWord) -> DatePart {
    match word {
        DateWord::Year => DatePart::Year,
        DateWord::Quarter => DatePart::Quarter,
        DateWord::Month => DatePart::Month,
        DateWord::Day => DatePart::Day,
        DateWord::Hour => DatePart::Hour,
    }
}

fn bucket(number: &Number, findings: &mut Findings<'_>) -> Option<Generalize> {
    let width = decimal(number, findings)?;
    if width.digits <= 0 {
        findings.error(number.0.span, "the width of a bucket must be greater than zero");
        return None;
    }
    Some(Generalize::Bucket { width })
}

fn edges(all: &[Number], span: Span, findings: &mut Findings<'_>) -> Option<Generalize> {
    let read: Vec<Decimal> = all.iter().filter_map(|n| decimal(n, findings)).collect();
    let ascending = read.is_sorted_by(|a, b| order(*a) < order(*b));
    if read.is_empty() || !ascending || read.len() > EDGES_MAX {
        findings
            .error(span, "the edges of the ranges are not ascending")
            .help(format!("list 1 to {EDGES_MAX} numbers, each larger than the one before"));
        return None;
    }
    (read.len() == all.len()).then(|| Generalize::Edges(read.into()))
}

fn bound(w: &With, span: Span, findings: &mut Findings<'_>) -> Option<Generalize> {
    let b = w.bound.as_ref()?;
    let bottom = b.bottom.as_ref().map(|n| decimal(n, findings));
    let top = b.top.as_ref().map(|n| decimal(n, findings));
    let (bottom, top) = (transpose(bottom)?, transpose(top)?);
    let upside_down = matches!((bottom, top), (Some(x), Some(y)) if order(x) >= order(y));
    if upside_down || (bottom.is_none() && top.is_none()) {
        findings.error(span, "`bound` needs a `bottom`, a `top`, or a `bottom` below its `top`");
        return None;
    }
    Some(Generalize::Bound { bottom, top })
}

/// Not given is fine; given and unreadable is not.
#[expect(clippy::option_option, reason = "not given, unreadable and read are three things")]
fn transpose(given: Option<Option<Decimal>>) -> Option<Option<Decimal>> {
    match given {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}

fn geo(w: &With, span: Span, findings: &mut Findings<'_>) -> Option<Geo> {
    match (w.decimals, w.geohash) {
        (Some(n), None) if n <= GEO_DECIMALS_MAX => Some(Geo::Decimals(n)),
        (Some(n), None) => {
            findings
                .error(span, format!("`{n}` decimals are too many for a coarse coordinate"))
                .help(format!("write a whole number from 0 to {GEO_DECIMALS_MAX}"));
            None
        }
        (None, Some(n)) => Some(Geo::Geohash(n)),
        _ => {
            findings
                .error(span, "`geo` needs exactly one of `decimals` and `geohash`")
                .help("two decimals are about a kilometer, five geohash characters about five");
            None
        }
    }
}

/// Most decimal places of a number in a policy, so that two of them can be compared exactly.
const SCALE_MAX: usize = 9;

pub(super) fn decimal(number: &Number, findings: &mut Findings<'_>) -> Option<Decimal> {
    let text = &number.0.value;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let dotted_well = !text.contains('.') || !fraction.is_empty();
    let unsigned = whole.strip_prefix('-').unwrap_or(whole);
    let plain = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    let fits = dotted_well && !unsigned.is_empty() && plain(unsigned) && plain(fraction);
    let fits = fits && fraction.len() <= SCALE_MAX;
    let digits = fits.then(|| format!("{whole}{fraction}").parse::<i64>().ok()).flatten();
    let (Some(digits), Ok(scale)) = (digits, u8::try_from(fraction.len())) else {
        findings
            .error(number.0.span, format!("`{text}` is not a valid number here"))
            .help("write a number such as `10`, `2.5` or `-40`");
        return None;
    };
    Some(Decimal { digits, scale })
}

/// The number in units of the smallest scale, for exact comparison.
pub(crate) fn order(d: Decimal) -> i128 {
    let missing = u32::try_from(SCALE_MAX).unwrap_or(9).saturating_sub(u32::from(d.scale));
    i128::from(d.digits).saturating_mul(10_i128.saturating_pow(missing))
}
