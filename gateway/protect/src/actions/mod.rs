//! What a transform does to one scalar. Each takes a text and writes a text; how it is written in
//! the record (quotes, escapes) is the caller's business.
//!
//! Must never return the input for a value that does not fit: that is `None`, and the plan says
//! what follows.

mod generalize;
mod mask;
pub(crate) mod normalize;
pub(crate) mod number;
pub(crate) mod randomize;
pub(crate) mod token;
pub(crate) mod value;

use std::sync::Arc;

use sluicegate_policies::{Generalize, Geo, Mask, Transform};

use randomize::{Place, Randomizer};
use token::{Token, Tokenizer};
use value::{Form, Input};

use crate::json;

const REDACTED_JSON: &str = "\"[redacted]\"";
const REDACTED_TEXT: &str = "[redacted]";

/// A transform, ready to use.
pub(crate) enum Action {
    Keep,
    Drop,
    Redact,
    /// As JSON, and as it is written in a header or a key that is no JSON.
    Constant {
        json: Arc<str>,
        text: Box<str>,
    },
    Mask(Mask),
    Token(Arc<Tokenizer>),
    Generalize(Generalize),
    Geo(Geo),
    Randomize(Box<Randomizer>),
}

impl Action {
    /// All but tokenize and randomize, which need more. A constant that is no JSON text would break the
    /// record; no compiled policy has one, and here it redacts.
    pub(crate) fn new(transform: &Transform) -> Self {
        match transform {
            Transform::Keep => Self::Keep,
            Transform::Drop => Self::Drop,
            Transform::Redact | Transform::Tokenize(_) | Transform::Randomize(_) => Self::Redact,
            Transform::Constant(json) if json::validate(json.as_bytes()).is_err() => Self::Redact,
            Transform::Constant(json) => {
                Self::Constant { json: json.clone(), text: constant_text(json) }
            }
            Transform::Mask(mask) => Self::Mask(*mask),
            Transform::Generalize(generalize) => Self::Generalize(generalize.clone()),
            Transform::Geo(geo) => Self::Geo(*geo),
        }
    }

    /// What stands for a whole value, whatever it was.
    pub(crate) fn whole_json(&self) -> &str {
        if let Self::Constant { json, .. } = self { json } else { REDACTED_JSON }
    }

    pub(crate) fn whole_text(&self) -> &str {
        if let Self::Constant { text, .. } = self { text } else { REDACTED_TEXT }
    }

    /// Whether null, objects and lists are answered like any value outside a domain.
    pub(crate) fn covers_everything(&self) -> bool {
        matches!(self, Self::Randomize(randomizer) if randomizer.covers_everything())
    }

    /// For what is no text: an object, a list, null, bytes that are no UTF-8.
    pub(crate) fn rewrite_other(&self, place: Place<'_>, draft: &mut String) -> Option<Form> {
        match self {
            Self::Randomize(randomizer) => randomizer.answer(None, place, draft),
            _ => None,
        }
    }

    /// `None`: the value does not fit the transform. `field` is the entry of the plan.
    pub(crate) fn rewrite(
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
            Self::Generalize(how) => generalize::generalize(how, input, draft),
            Self::Geo(geo) => number::geo(*geo, input, draft),
            Self::Randomize(randomizer) => randomizer.answer(Some(input.text), place, draft),
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
