//! PLAIN (RFC 4616).

use super::Invalid;

pub struct Plain<'a> {
    pub name: &'a str,
    pub password: &'a str,
}

/// A client's only message. To act for somebody else is nothing that a client of Kafka may ask.
pub fn parse(message: &[u8]) -> Result<Plain<'_>, Invalid> {
    let message = str::from_utf8(message).map_err(|_| Invalid)?;
    let mut parts = message.split('\0');
    let (Some(authorization), Some(name), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Invalid);
    };
    if name.is_empty() || password.is_empty() {
        return Err(Invalid);
    }
    if !authorization.is_empty() && authorization != name {
        return Err(Invalid);
    }
    Ok(Plain { name, password })
}
