//! The settings of `randomize`: a closed domain, an epsilon, and what answers about one subject
//! cost together. What is missing is a mistake; nothing that a promise rests on has a default.

use serde_json::Value;

use super::resolve_transform::{decimal, order};
use crate::{
    diagnostic::Findings,
    document::{MethodWord, Number, With},
    number::canonical,
    path,
    plan::{
        CATEGORIES_MAX, CLAMP_MAX, Categories, Category, Decimal, EPSILON_MAX, Randomize, Response,
        Spending, Step,
    },
    source::{Span, Text},
};

/// UTF-8 bytes of one category.
const CATEGORY_BYTES_MAX: usize = 256;
/// Decimal places in which [`order`] compares.
const ORDER_SCALE: u32 = 9;

pub(super) fn randomize(w: &With, span: Span, findings: &mut Findings<'_>) -> Option<Randomize> {
    let Some(method) = w.method else {
        findings
            .error(span, "`randomize` needs a method")
            .help("add `method: k-rr`, `method: oue` or `method: numeric`");
        return None;
    };
    foreign(w, method, span, findings);
    let epsilon = epsilon(w, span, findings);
    let spending = spending(w, span, findings);
    let response = match method {
        MethodWord::KRr => {
            let categories = categories(w, span, findings);
            Response::k_rr(categories?, epsilon?)
        }
        MethodWord::Oue => {
            let categories = categories(w, span, findings);
            Response::oue(categories?, epsilon?)
        }
        MethodWord::Numeric => numeric(w, epsilon, span, findings),
    };
    Some(Randomize { response: response?, epsilon: epsilon?, spending: spending? })
}

/// Settings that the method would silently ignore.
fn foreign(w: &With, method: MethodWord, span: Span, findings: &mut Findings<'_>) {
    let numeric = method == MethodWord::Numeric;
    let settings = [
        ("domain", w.domain.is_some(), numeric),
        ("clamp", w.clamp.is_some(), !numeric),
        ("decimals", w.decimals.is_some(), !numeric),
    ];
    for (key, given, ignored) in settings {
        if given && ignored {
            let owner = if numeric { "`k-rr` and `oue`" } else { "`numeric`" };
            findings
                .error(span, format!("the setting `{key}` does not fit the method"))
                .help(format!("`{key}` belongs to {owner}"));
        }
    }
}

fn epsilon(w: &With, span: Span, findings: &mut Findings<'_>) -> Option<Decimal> {
    let Some(number) = &w.epsilon else {
        findings
            .error(span, "`randomize` needs an `epsilon`")
            .help("say what one answer may reveal: `epsilon: 1` is common");
        return None;
    };
    let read = decimal(number, findings)?;
    if order(read) <= 0 || order(read) > order(Decimal { digits: EPSILON_MAX, scale: 0 }) {
        findings
            .error(number.0.span, format!("`{}` is not a valid epsilon", number.0.value))
            .help(format!("write a number above 0 and at most {EPSILON_MAX}"));
        return None;
    }
    Some(read)
}

fn categories(w: &With, span: Span, findings: &mut Findings<'_>) -> Option<Categories> {
    let listed = w.domain.as_ref().and_then(|d| Some((d.0.value.as_array()?, d.0.span)));
    let Some((listed, at)) = listed else {
        findings
            .error(span, "`randomize` needs a closed list of values")
            .help("add `domain: [one, two]`: values that are public, not read from the data");
        return None;
    };
    let values: Vec<Category> = listed.iter().filter_map(category).collect();
    let mut texts: Vec<&str> = values.iter().map(|v| &*v.text).collect();
    texts.sort_unstable();
    texts.dedup();
    let fits = (2..=CATEGORIES_MAX).contains(&values.len())
        && texts.len() == listed.len()
        && texts.iter().all(|t| t.len() <= CATEGORY_BYTES_MAX);
    if !fits {
        findings.error(at, "this is not a list of distinct values").help(format!(
            "list 2 to {CATEGORIES_MAX} different values of at most {CATEGORY_BYTES_MAX} bytes"
        ));
        return None;
    }
    let other = match &w.other {
        None => None,
        Some(other) => {
            let wanted = category(&other.0)?;
            let place = values.iter().position(|v| *v == wanted);
            let Some(place) = place.and_then(|p| u16::try_from(p).ok()) else {
                findings
                    .error(span, format!("`{}` is not in the domain", wanted.text))
                    .help("`other` is the value of the domain that stands for all others");
                return None;
            };
            Some(place)
        }
    };
    Some(Categories { values: values.into(), other })
}

fn category(value: &Value) -> Option<Category> {
    match value {
        Value::String(text) => Some(Category { text: text.as_str().into(), quoted: true }),
        Value::Number(_) | Value::Bool(_) => {
            Some(Category { text: canonical(&value.to_string()).into(), quoted: false })
        }
        _ => None,
    }
}

fn numeric(
    w: &With,
    epsilon: Option<Decimal>,
    span: Span,
    findings: &mut Findings<'_>,
) -> Option<Response> {
    let Some([lo, hi]) = w.clamp.as_deref() else {
        findings
            .error(span, "`numeric` needs a `clamp`: the smallest and the largest number")
            .help("add `clamp: [0, 100]`: bounds that are public, not read from the data");
        return None;
    };
    let scale = w.decimals.unwrap_or(0);
    let (lo, hi) = (decimal(lo, findings)?, decimal(hi, findings)?);
    let other = w.other.as_ref().map(|o| Number(Text { span, value: o.0.to_string() }));
    let other = match other {
        None => None,
        Some(number) => Some(decimal(&number, findings)?),
    };
    let bounds = (units(lo, scale), units(hi, scale), other.map(|o| units(o, scale)));
    let made = match bounds {
        (Some(lo), Some(hi), None) => Response::numeric(lo, hi, scale, None, epsilon?),
        (Some(lo), Some(hi), Some(Some(o))) => Response::numeric(lo, hi, scale, Some(o), epsilon?),
        _ => None,
    };
    if made.is_none() {
        findings.error(span, "`clamp`, `decimals` and `other` do not fit together").help(format!(
            "the first bound is below the second, `other` is within them, none has more decimals \
             than `decimals`, and without its point none is beyond {CLAMP_MAX}"
        ));
    }
    made
}

/// The number in units of `10^-scale`, if it has no more decimal places.
fn units(number: Decimal, scale: u8) -> Option<i64> {
    let unit = 10i128.checked_pow(ORDER_SCALE.checked_sub(u32::from(scale))?)?;
    let fine = order(number);
    (fine % unit == 0).then(|| i64::try_from(fine / unit).ok()).flatten()
}

fn spending(w: &With, span: Span, findings: &mut Findings<'_>) -> Option<Spending> {
    let memoize = w.memoize.unwrap_or(false);
    let declared = (w.records_per_subject, &w.period);
    match (memoize, declared, (&w.subject, &w.key)) {
        (false, (Some(records), Some(period)), (None, None)) => {
            let period = self::period(period, findings)?;
            Some(Spending::PerRecord { records, period })
        }
        (true, (None, None), (Some(subject), Some(key))) => {
            let subject = self::subject(subject, findings)?;
            Some(Spending::Memoized { subject, key: key.value.as_str().into() })
        }
        _ => {
            findings
                .error(
                    span,
                    "`randomize` does not say what the answers about one subject cost together",
                )
                .help(
                    "add `records-per-subject: n` and `period: 24h`, which is a declaration; or \
                     `memoize: true` with the path of the `subject` and the name of a `key`",
                );
            None
        }
    }
}

fn period(text: &Text, findings: &mut Findings<'_>) -> Option<std::sync::Arc<str>> {
    let number = text.value.strip_suffix(['m', 'h', 'd']).unwrap_or_default();
    let fits = number.bytes().all(|b| b.is_ascii_digit())
        && number.parse::<u32>().is_ok_and(|n| n > 0)
        && !number.starts_with('0');
    if !fits {
        findings
            .error(text.span, format!("`{}` is not a length of time", text.value))
            .help("write a number of minutes, hours or days: `90m`, `24h`, `7d`");
    }
    fits.then(|| text.value.as_str().into())
}

/// One place: a subject that could be one of several would be drawn by the order of the record.
fn subject(text: &Text, findings: &mut Findings<'_>) -> Option<crate::plan::FieldPath> {
    let read = path::parse(&text.value);
    let one = |s: &Step| matches!(s, Step::Member(_));
    match read {
        Ok(path) if path.steps.iter().all(one) => Some(path),
        Ok(_) => {
            findings
                .error(text.span, format!("`{}` can match several places", text.value))
                .help("the subject is in one place, such as `customer.id`");
            None
        }
        Err(why) => {
            findings.error(text.span, why).help(path::HELP);
            None
        }
    }
}
