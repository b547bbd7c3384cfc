//! OAUTHBEARER (RFC 7628). A refusal takes one more message: the server says why, the client answers with one byte,
//! and only then the login has failed. Nothing here says that a token is good.

use super::{Invalid, gs2};

pub struct Bearer<'a> {
    /// For whom the client wants to act; nothing if for the token's own subject.
    pub authorization: Option<String>,
    pub token: &'a str,
}

const SEPARATOR: char = '\x01';

/// What a client answers to a [`REFUSAL`].
pub const ACKNOWLEDGEMENT: &[u8] = b"\x01";

/// Why, in the words of RFC 6750. No issuer or scope is named to a stranger.
pub const REFUSAL: &[u8] = br#"{"status":"invalid_token"}"#;

/// A client's first message. Pairs besides the token, Kafka's extensions among them, are read past.
pub fn parse(message: &[u8]) -> Result<Bearer<'_>, Invalid> {
    let message = str::from_utf8(message).map_err(|_| Invalid)?;
    let header = gs2(message)?;
    let pairs = header.rest.strip_prefix(SEPARATOR).ok_or(Invalid)?;
    let pairs = pairs.strip_suffix("\x01\x01").ok_or(Invalid)?;
    let mut token = None;
    for pair in pairs.split(SEPARATOR) {
        let (key, value) = pair.split_once('=').ok_or(Invalid)?;
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(Invalid);
        }
        if key == "auth" && token.replace(value).is_some() {
            return Err(Invalid);
        }
    }
    let (scheme, token) = token.and_then(|auth| auth.split_once(' ')).ok_or(Invalid)?;
    let token = token.trim_matches(' ');
    let of_token = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || !token.bytes().all(of_token) {
        return Err(Invalid);
    }
    Ok(Bearer { authorization: header.authorization, token })
}
