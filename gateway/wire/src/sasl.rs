//! What clients say to prove who they are: messages and arithmetic. Nonces and credentials are parameters. `client`
//! says it, the others judge it.
//!
//! Names and passwords are compared as they are: no client of Kafka prepares them (RFC 4013). So that a client that
//! does gets in all the same, a credential is made only for a name and a password that preparation would not change:
//! see [`prepared`].

pub mod bearer;
pub mod client;
pub mod plain;
pub mod scram;

/// A message that is not what its mechanism says. Which part of it is wrong is nothing that a stranger should be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a SASL message that does not follow its mechanism")]
pub struct Invalid;

/// The name of SCRAM and OAUTHBEARER: `,` and `=` are written as `=2C` and `=3D`.
fn unescape(name: &str) -> Result<String, Invalid> {
    let mut parts = name.split('=');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (sign, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(Invalid),
        };
        plain.push(sign);
        plain.push_str(rest);
    }
    if plain.is_empty() || plain.contains('\0') { Err(Invalid) } else { Ok(plain) }
}

/// What is before the mechanism's own message: that no channel is bound, and for whom the client wants to act.
struct Gs2<'a> {
    /// With its last comma.
    header: &'a str,
    authorization: Option<String>,
    rest: &'a str,
}

fn gs2(message: &str) -> Result<Gs2<'_>, Invalid> {
    let (flag, after) = message.split_once(',').ok_or(Invalid)?;
    // `y`: the client could bind a channel and believes that we cannot, which is so. `p` would bind one.
    if flag != "n" && flag != "y" {
        return Err(Invalid);
    }
    let (authorization, rest) = after.split_once(',').ok_or(Invalid)?;
    let header = message.get(..message.len() - rest.len()).ok_or(Invalid)?;
    let authorization = match authorization.strip_prefix("a=") {
        Some(name) => Some(unescape(name)?),
        None if authorization.is_empty() => None,
        None => return Err(Invalid),
    };
    Ok(Gs2 { header, authorization, rest })
}

/// Whether preparation (SASLprep, RFC 4013) leaves a name or password as it is; only such ones get a credential.
pub fn prepared(text: &str) -> bool {
    !text.is_empty() && stringprep::saslprep(text).is_ok_and(|prepared| prepared == text)
}

/// In a time that says nothing about where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differences) == 0
}
