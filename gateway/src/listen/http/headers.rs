//! Request headers with a meaning of their own.

use axum::http::HeaderMap;

use crate::listen::problem::Problem;

const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
const PURPOSE_BYTES_MAX: usize = 256;

pub(super) fn purpose(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("sluicegate-purpose") else { return Ok(None) };
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let good = |text: &&str| {
        !text.is_empty() && text.len() <= PURPOSE_BYTES_MAX && text.bytes().all(named)
    };
    let text = value.to_str().ok().filter(good);
    let text =
        text.ok_or_else(|| Problem::bad_request("`sluicegate-purpose` is not a valid name"))?;
    Ok(Some(text.to_owned()))
}

/// draft-ietf-httpapi-idempotency-key-header-07: an RFC 8941 string. Unquoted keys are accepted,
/// because most clients send them so.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let key = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
    let printable = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"';
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX || !key.bytes().all(printable) {
        return Err(Problem::bad_request(
            "`idempotency-key` is not a string of 1 to 255 characters",
        ));
    }
    Ok(Some(key.to_owned()))
}
