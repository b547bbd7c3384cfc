//! What goes into an action, and in what form it comes out.

/// A scalar that is not null: the content of a string, a boolean, or a number in its one spelling.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub text: &'a str,
    /// It was a string (or a header, or a key that is no JSON).
    pub quoted: bool,
}

/// What a transform left in the draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
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
    pub(crate) fn like(input: Input<'_>) -> Self {
        if input.quoted { Self::Text } else { Self::Literal }
    }
}
