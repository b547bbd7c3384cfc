//! What a transform does to one scalar. Each takes a text and writes a text; how it stands in
//! the record (quotes, escapes) is the caller's business.
//!
//! Must never return the input for a value that does not fit: that is `None`, and the plan says
//! what follows.

use std::sync::Arc;

use sluicegate_policies::{Generalize, Geo, Mask, Transform};

use super::{
    generalise, mask, number,
    randomise::{Place, Randomiser},
    token::{Token, Tokenizer},
};
use crate::json;

const REDACTED_JSON: &str = "\"[redacted]\"";
const REDACTED_TEXT: &str = "[redacted]";

/// A transform, ready to use.
pub(super) enum Action {
    Keep,
    Drop,
    Redact,
    /// As JSON, and as it stands in a header or a key that is no JSON.
    Constant {
        json: Arc<str>,
        text: Box<str>,
    },
    Mask(Mask),
    Token(Arc<Tokenizer>),
    Generalise(Generalize),
    Geo(Geo),
    Randomise(Box<Randomiser>),
}

/// A scalar that is not null: the content of a string, a boolean, or a number in its one spelling.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    pub text: &'a str,
    /// It was a string (or a header, or a key that is no JSON).
    pub quoted: bool,
}

/// What a transform left in the draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Nothing: the bytes stay as they are.
    Same,
    /// The content of a string.
    Text,
    /// A JSON text.
    Literal,
    /// Nothing: the new last of the tokens is the content of a string. It needs no escapes.
    Token,
}

impl Form {
    /// A number stays a number, a string a string.
    pub(super) fn like(input: Input<'_>) -> Self {
        if input.quoted { Self::Text } else { Self::Literal }
    }
}

impl Action {
    /// All but tokenize and randomise, which need more. A constant that is no JSON text would break the
    /// record; no compiled policy has one, and here it redacts.
    pub(super) fn new(transform: &Transform) -> Self {
        match transform {
            Transform::Keep => Self::Keep,
            Transform::Drop => Self::Drop,
            Transform::Redact | Transform::Tokenize(_) | Transform::Randomize(_) => Self::Redact,
            Transform::Constant(json) if json::validate(json.as_bytes()).is_err() => Self::Redact,
            Transform::Constant(json) => {
                Self::Constant { json: json.clone(), text: constant_text(json) }
            }
            Transform::Mask(mask) => Self::Mask(*mask),
            Transform::Generalize(generalise) => Self::Generalise(generalise.clone()),
            Transform::Geo(geo) => Self::Geo(*geo),
        }
    }

    /// What stands for a whole value, whatever it was.
    pub(super) fn whole_json(&self) -> &str {
        if let Self::Constant { json, .. } = self { json } else { REDACTED_JSON }
    }

    pub(super) fn whole_text(&self) -> &str {
        if let Self::Constant { text, .. } = self { text } else { REDACTED_TEXT }
    }

    /// Whether null, objects and lists are answered like any value outside a domain.
    pub(super) fn covers_everything(&self) -> bool {
        matches!(self, Self::Randomise(randomiser) if randomiser.covers_everything())
    }

    /// For what is no text: an object, a list, null, bytes that are no UTF-8.
    pub(super) fn rewrite_other(&self, place: Place<'_>, draft: &mut String) -> Option<Form> {
        match self {
            Self::Randomise(randomiser) => randomiser.answer(None, place, draft),
            _ => None,
        }
    }

    /// `None`: the value does not fit the transform. `field` is the entry of the plan.
    pub(super) fn rewrite(
        &self,
        input: Input<'_>,
        field: usize,
        draft: &mut String,
        normal: &mut String,
        tokens: &mut Vec<Token>,
        place: Place<'_>,
    ) -> Option<Form> {
        draft.clear();
        match self {
            Self::Keep => Some(Form::Same),
            Self::Drop => None,
            Self::Redact | Self::Constant { .. } => {
                draft.push_str(self.whole_json());
                Some(Form::Literal)
            }
            Self::Mask(mask) => mask::mask(*mask, input.text, draft),
            Self::Token(tokenizer) => {
                let token = tokenizer.token(input.text, field, normal)?;
                tokens.push(token);
                Some(Form::Token)
            }
            Self::Generalise(how) => generalise::generalise(how, input, draft),
            Self::Geo(geo) => number::geo(*geo, input, draft),
            Self::Randomise(randomiser) => randomiser.answer(Some(input.text), place, draft),
        }
    }
}

fn constant_text(json: &str) -> Box<str> {
    let trimmed = json.trim_ascii();
    let content = trimmed.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let mut text = String::new();
    match content {
        Some(raw) => json::unescape(raw, &mut text),
        None => text.push_str(trimmed),
    }
    text.into()
}
