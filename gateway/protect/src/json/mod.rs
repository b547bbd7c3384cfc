//! The byte-level JSON scanner: RFC 8259, strictly, over borrowed text and without a tree.
//!
//! It must never accept what another parser could read differently: invalid UTF-8, a lone
//! surrogate, two members of one name (after unescaping) and nesting beyond [`DEPTH_MAX`] are
//! [`Malformed`]. It must never put a byte of what it read into an error. Bodies are bounded by
//! the caller; the scratch in [`Names`] is bounded by the body.

pub(crate) mod find;
mod names;
pub(crate) mod probe;
pub(crate) mod splice;
mod text;

#[cfg(test)]
mod tests;

pub use names::{Name, Names, hash};
pub use text::{unescape, write_string};

/// Containers inside each other; the 65th is refused.
pub const DEPTH_MAX: usize = 64;

/// Why bytes are not the JSON we accept, and where. Holds no byte of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}{}", self.place())]
pub struct Malformed {
    pub offset: usize,
    pub what: What,
}

impl Malformed {
    fn place(&self) -> String {
        match self.what {
            What::DuplicateHeader => String::new(),
            _ => format!(" at byte {}", self.offset),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum What {
    #[error("text that is not UTF-8")]
    Utf8,
    #[error("a body over 4 GiB")]
    TooLong,
    #[error("an end too early")]
    End,
    #[error("a character that JSON does not allow there")]
    Unexpected,
    #[error("a control character inside a string")]
    Control,
    #[error("an escape that JSON does not have")]
    Escape,
    #[error("unpaired surrogate")]
    Surrogate,
    #[error("a second member of the same name")]
    DuplicateMember,
    /// Of a record, not of a JSON text.
    #[error("a second header of the same name")]
    DuplicateHeader,
    #[error("nesting deeper than 64")]
    TooDeep,
    #[error("more text after the value")]
    Trailing,
}

/// Accepts exactly one JSON value; see the module for what "accepts" means.
pub fn validate(bytes: &[u8]) -> Result<(), Malformed> {
    let mut names = Names::default();
    let mut scanner = Scanner::new(bytes, &mut names)?;
    scanner.skip()?;
    scanner.finish()
}

/// Whether a key is JSON. One that only a lenient reader would take for JSON (a member twice,
/// nesting without end, half a surrogate) is refused: as a text it could carry past us what the
/// reader then finds.
pub(crate) fn is_json(key: &[u8]) -> Result<bool, Malformed> {
    if !matches!(key.first(), Some(b'{' | b'[' | b'"')) {
        return Ok(false);
    }
    match validate(key) {
        Ok(()) => Ok(true),
        Err(m) => match m.what {
            What::DuplicateMember | What::TooDeep | What::Surrogate | What::TooLong => Err(m),
            _ => Ok(false),
        },
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Null,
    Bool,
    Number,
    Text { escaped: bool },
}

/// A scalar and its place in the text, quotes included.
#[derive(Clone, Copy)]
pub struct Scalar {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

/// An object being read.
pub struct Object {
    base: usize,
    fresh: bool,
}

/// An array being read.
pub struct Array {
    fresh: bool,
}

/// A member whose name was read and whose value comes next.
#[derive(Clone, Copy)]
pub struct Member {
    /// Just behind the `{` or `,` before it.
    pub lead: usize,
    pub name: Name,
    /// Where the name is in the text, quotes included.
    pub start: usize,
    pub end: usize,
}

/// A cursor that only moves forward and stands, between calls, on the first byte of something.
pub struct Scanner<'a, 's> {
    text: &'a str,
    at: usize,
    depth: usize,
    names: &'s mut Names,
}

impl<'a, 's> Scanner<'a, 's> {
    /// Stands on the first byte of the value.
    pub fn new(bytes: &'a [u8], names: &'s mut Names) -> Result<Self, Malformed> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(Malformed { offset: 0, what: What::TooLong });
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|e| Malformed { offset: e.valid_up_to(), what: What::Utf8 })?;
        names.clear();
        let mut scanner = Self { text, at: 0, depth: 0, names };
        scanner.space();
        Ok(scanner)
    }

    /// Nothing but white space may follow the value.
    pub fn finish(&mut self) -> Result<(), Malformed> {
        self.space();
        if self.peek().is_none() { Ok(()) } else { Err(self.fault(What::Trailing)) }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    pub fn name(&self, name: Name) -> &[u8] {
        self.names.bytes(name, self.text.as_bytes())
    }

    #[inline]
    pub fn bytes(&self, start: usize, end: usize) -> &'a [u8] {
        self.text.as_bytes().get(start..end).unwrap_or_default()
    }

    /// The text of a scalar as it is written; of a string, what is between the quotes.
    #[inline]
    pub fn raw(&self, scalar: Scalar) -> &'a str {
        let (start, end) = match scalar.kind {
            Kind::Text { .. } => (scalar.start.saturating_add(1), scalar.end.saturating_sub(1)),
            _ => (scalar.start, scalar.end),
        };
        self.text.get(start..end).unwrap_or_default()
    }

    /// Reads a value of any kind, checks all of it and forgets it.
    pub fn skip(&mut self) -> Result<(), Malformed> {
        match self.peek() {
            Some(b'{') => {
                let mut object = self.open_object()?;
                while self.next_member(&mut object)?.is_some() {
                    self.skip()?;
                }
                Ok(())
            }
            Some(b'[') => {
                let mut array = self.open_array()?;
                while self.next_element(&mut array)?.is_some() {
                    self.skip()?;
                }
                Ok(())
            }
            _ => self.scalar().map(drop),
        }
    }

    pub fn open_object(&mut self) -> Result<Object, Malformed> {
        self.open()?;
        Ok(Object { base: self.names.mark(), fresh: true })
    }

    /// Stands on the member's value, or behind the `}`.
    #[inline]
    pub fn next_member(&mut self, object: &mut Object) -> Result<Option<Member>, Malformed> {
        let Some(lead) = self.separator(object.fresh, b'}')? else {
            let Object { base, .. } = *object;
            if self.names.close(base, self.text.as_bytes()) {
                return Ok(None);
            }
            return Err(Malformed { offset: self.at, what: What::DuplicateMember });
        };
        object.fresh = false;
        let name = self.scalar()?;
        let Kind::Text { escaped } = name.kind else {
            return Err(Malformed { offset: name.start, what: What::Unexpected });
        };
        let (raw, Scalar { start, end, .. }) = (self.raw(name), name);
        let name = self.names.add(raw, start.saturating_add(1), escaped);
        self.space();
        self.expect(b':')?;
        self.space();
        Ok(Some(Member { lead, name, start, end }))
    }

    pub fn open_array(&mut self) -> Result<Array, Malformed> {
        self.open()?;
        Ok(Array { fresh: true })
    }

    /// Stands on the element, or behind the `]`. Answers with the place just behind the `[` or
    /// `,` before the element.
    #[inline]
    pub fn next_element(&mut self, array: &mut Array) -> Result<Option<usize>, Malformed> {
        let lead = self.separator(array.fresh, b']')?;
        array.fresh = false;
        Ok(lead)
    }

    /// Reads a string, number, boolean or null.
    #[inline]
    pub fn scalar(&mut self) -> Result<Scalar, Malformed> {
        let start = self.at;
        let kind = match self.peek() {
            Some(b'"') => Kind::Text { escaped: self.string()? },
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word(b"true", Kind::Bool)?,
            Some(b'f') => self.word(b"false", Kind::Bool)?,
            Some(b'n') => self.word(b"null", Kind::Null)?,
            Some(_) => return Err(self.fault(What::Unexpected)),
            None => return Err(self.fault(What::End)),
        };
        Ok(Scalar { kind, start, end: self.at })
    }

    fn open(&mut self) -> Result<(), Malformed> {
        if self.depth >= DEPTH_MAX {
            return Err(self.fault(What::TooDeep));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Steps over what is between two members or elements. `None`: the container is closed.
    #[inline]
    fn separator(&mut self, fresh: bool, close: u8) -> Result<Option<usize>, Malformed> {
        let behind_open = self.at;
        self.space();
        match self.peek() {
            Some(byte) if byte == close => {
                self.at += 1;
                self.depth = self.depth.saturating_sub(1);
                Ok(None)
            }
            Some(_) if fresh => Ok(Some(behind_open)),
            Some(b',') => {
                self.at += 1;
                let lead = self.at;
                self.space();
                Ok(Some(lead))
            }
            Some(_) => Err(self.fault(What::Unexpected)),
            None => Err(self.fault(What::End)),
        }
    }

    /// Stands behind the closing quote; answers whether there was an escape.
    #[inline]
    fn string(&mut self) -> Result<bool, Malformed> {
        self.at += 1;
        let mut escaped = false;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            self.at += text::plain_len(rest);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
                    self.at += text::escape_len(rest).map_err(|what| self.fault(what))?;
                }
                Some(_) => return Err(self.fault(What::Control)),
                None => return Err(self.fault(What::End)),
            }
        }
    }

    #[inline]
    fn number(&mut self) -> Result<Kind, Malformed> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Kind::Number)
    }

    /// One digit or more.
    #[inline]
    fn digits(&mut self) -> Result<(), Malformed> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        if count == 0 {
            let what = if rest.is_empty() { What::End } else { What::Unexpected };
            return Err(self.fault(what));
        }
        self.at += count;
        Ok(())
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Result<Kind, Malformed> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(self.fault(What::Unexpected));
        }
        self.at += word.len();
        Ok(kind)
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        match self.peek() {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(self.fault(What::Unexpected)),
            None => Err(self.fault(What::End)),
        }
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn fault(&self, what: What) -> Malformed {
        Malformed { offset: self.at, what }
    }
}
