//! One login of a Kafka client, message by message. Which mechanism it is and how messages are framed
//! is the listener's; who it is, is decided here, by the same credentials as everywhere.
//!
//! INVARIANT: [`Step::Done`] is made where a proof, a password or a token has been verified, and nowhere
//! else: a refusal that takes one more message (OAUTHBEARER) has already failed.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sluicegate_wire::sasl::{
    bearer, plain,
    scram::{self, Challenged, Mechanism},
};
use zeroize::Zeroizing;

use super::{Failure, Identifier, Method, Principal};

/// What every client whose login failed is told.
pub const REFUSED: &str = "authentication failed";
const PLAIN: &str = "PLAIN";
const OAUTHBEARER: &str = "OAUTHBEARER";
const NONCE_BYTES: usize = 18;

/// What follows from a client's message.
pub enum Step {
    /// Another message is asked for.
    Challenge(Vec<u8>),
    Done {
        principal: Principal,
        answer: Vec<u8>,
        /// When the login ends: the token's `exp`, which may have passed within the clock skew that
        /// is allowed. Passwords do not end.
        until_ms: Option<i64>,
    },
    /// For ledger and log; the client is told [`REFUSED`].
    Failed(Failure),
}

impl Step {
    fn done(name: impl Into<Arc<str>>, by: Method, answer: Vec<u8>) -> Self {
        Self::Done { principal: Principal { name: name.into(), by }, answer, until_ms: None }
    }
}

/// A login that is under way.
pub struct Login {
    identifier: Arc<Identifier>,
    awaits: Awaits,
}

/// What the next message must be.
enum Awaits {
    ScramFirst(Mechanism),
    ScramProof {
        name: String,
        mechanism: Mechanism,
        challenged: Challenged,
    },
    Plain,
    Bearer,
    /// The client's acknowledgement of a refusal.
    Acknowledgement(Failure),
    Nothing,
}

impl Identifier {
    /// The mechanisms that are offered, in order of preference.
    pub fn mechanisms(&self) -> Vec<&'static str> {
        let mut mechanisms = Vec::new();
        if self.passwords.is_some() {
            mechanisms.extend([Mechanism::Sha512.name(), Mechanism::Sha256.name(), PLAIN]);
        }
        if !self.tokens.is_empty() {
            mechanisms.push(OAUTHBEARER);
        }
        mechanisms
    }

    /// Begins a login; `None` if the mechanism is not offered ([`Failure::SaslMechanism`]).
    pub fn login(self: &Arc<Self>, mechanism: &str) -> Option<Login> {
        let offered = self.mechanisms().into_iter().find(|offered| *offered == mechanism)?;
        let awaits = match offered {
            PLAIN => Awaits::Plain,
            OAUTHBEARER => Awaits::Bearer,
            sha512 if sha512 == Mechanism::Sha512.name() => Awaits::ScramFirst(Mechanism::Sha512),
            _ => Awaits::ScramFirst(Mechanism::Sha256),
        };
        Some(Login { identifier: self.clone(), awaits })
    }
}

impl Login {
    /// Takes the client's next message. After an end every further one fails.
    pub async fn step(&mut self, message: &[u8]) -> Step {
        let step = match std::mem::replace(&mut self.awaits, Awaits::Nothing) {
            Awaits::ScramFirst(mechanism) => self.challenge(mechanism, message),
            Awaits::ScramProof { name, mechanism, challenged } => {
                self.prove(name, mechanism, challenged, message)
            }
            Awaits::Plain => self.plain(message).await,
            Awaits::Bearer => self.bearer(message).await,
            Awaits::Acknowledgement(failure) => Err(failure),
            Awaits::Nothing => Err(Failure::SaslMalformed),
        };
        step.unwrap_or_else(Step::Failed)
    }

    /// Costs the same whether somebody has the name or not.
    fn challenge(&mut self, mechanism: Mechanism, message: &[u8]) -> Result<Step, Failure> {
        let first = scram::First::parse(message).map_err(|_| Failure::SaslMalformed)?;
        let passwords = self.identifier.passwords.as_ref().ok_or(Failure::SaslMechanism)?;
        let mut nonce = [0; NONCE_BYTES];
        let random = &self.identifier.ambient.random;
        random.fill(&mut nonce).map_err(|_| Failure::LoginUnavailable)?;
        let keys = passwords.keys(mechanism, first.name())?;
        let name = first.name().to_owned();
        let (challenge, challenged) = first.challenge(keys, &BASE64_URL_SAFE_NO_PAD.encode(nonce));
        self.awaits = Awaits::ScramProof { name, mechanism, challenged };
        Ok(Step::Challenge(challenge.into_bytes()))
    }

    fn prove(
        &self,
        name: String,
        mechanism: Mechanism,
        challenged: Challenged,
        message: &[u8],
    ) -> Result<Step, Failure> {
        let passwords = self.identifier.passwords.as_ref().ok_or(Failure::SaslMechanism)?;
        let answer = challenged.verify(message, passwords.nonces());
        let answer = answer.map_err(|_| Failure::PasswordWrong)?;
        Ok(Step::done(name, Method::Scram(mechanism), answer.into_bytes()))
    }

    async fn plain(&self, message: &[u8]) -> Result<Step, Failure> {
        let said = plain::parse(message).map_err(|_| Failure::SaslMalformed)?;
        let passwords = self.identifier.passwords.as_ref().ok_or(Failure::SaslMechanism)?;
        passwords.check(said.name, Zeroizing::new(said.password.to_owned())).await?;
        Ok(Step::done(said.name, Method::Plain, Vec::new()))
    }

    async fn bearer(&mut self, message: &[u8]) -> Result<Step, Failure> {
        let said = bearer::parse(message).map_err(|_| Failure::SaslMalformed)?;
        let Identifier { tokens, ambient, .. } = &*self.identifier;
        let verified = tokens.verify_token(said.token, &*ambient.clock).await;
        let verified = verified.and_then(|verified| match said.authorization {
            Some(other) if *other != *verified.principal => Err(Failure::SaslMalformed),
            _ => Ok(verified),
        });
        match verified {
            Ok(verified) => Ok(Step::Done {
                principal: Principal { name: verified.principal, by: Method::Token },
                answer: Vec::new(),
                until_ms: Some(verified.expires_us.div_euclid(1_000)),
            }),
            // RFC 7628 3.2.2: the client is told, and answers, before the login fails.
            Err(failure) => {
                self.awaits = Awaits::Acknowledgement(failure);
                Ok(Step::Challenge(bearer::REFUSAL.to_vec()))
            }
        }
    }
}

#[cfg(test)]
mod tests;
