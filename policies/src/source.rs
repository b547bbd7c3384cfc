//! The texts a bundle is made of, and places in them.

/// One file of a bundle. The crate never opens a file: `path` only names the text in messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// As the author knows it, relative to the bundle's folder.
    pub path: String,
    /// The whole text, as it is on disk.
    pub text: String,
}

impl Source {
    /// A text with the name under which messages speak of it.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }
}

/// A stretch of bytes in one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) file: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn source(self, sources: &[Source]) -> Option<&Source> {
        sources.get(usize::try_from(self.file).ok()?)
    }

    pub(crate) fn text(self, sources: &[Source]) -> Option<&str> {
        self.source(sources)?.text.get(self.start as usize..self.end as usize)
    }
}

/// A value together with where the author wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Located<T> {
    pub(crate) span: Span,
    pub(crate) value: T,
}

/// A name that the author wrote.
pub(crate) type Text = Located<String>;
