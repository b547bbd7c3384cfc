//! The pass over a JSON text: reads it once, and writes it again without what must not be in it.
//! What stays is copied in stretches as long as possible, bytes as they stand.
//!
//! Must never write anything but valid JSON, and never let a container through because one of
//! its parents was allowed: each scalar is decided on its own, and so is each name that the policy
//! does not itself write.
//!
//! What is written of a container before it is known whether anything of it is kept is taken back
//! by cutting the output to where it began: the text is still read once.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use sluicegate_policies::{RefusalCode, Unlisted, number::canonical};

use super::{DEPTH_MAX, Kind, Malformed, Member, Scanner, unescape, write_string};
use crate::{
    Refused, Scratch,
    actions::{
        Action,
        randomize::{Occasion, Place},
        token::Token,
        value::{Form, Input},
    },
    automaton::{Automaton, ROW_EACH},
    program::{Field, Made, Program, mark},
};

/// What became of a value. INVARIANT: the caller takes back what was written of a dropped one.
pub(crate) enum Fate {
    Kept,
    Dropped,
}

/// A refusal on its way up; each container adds where it is.
pub(crate) struct Fault(Box<FaultBody>);

struct FaultBody {
    /// Innermost first.
    segments: Vec<String>,
    rule: Option<Arc<str>>,
    code: RefusalCode,
    malformed: Option<Malformed>,
}

impl Fault {
    pub(crate) fn new(code: RefusalCode, rule: Option<Arc<str>>) -> Self {
        Self(Box::new(FaultBody { segments: Vec::new(), rule, code, malformed: None }))
    }

    /// Under a name that the plan does not contain nothing more is said: the name, and what is
    /// below it, may be personal data.
    fn under(mut self, segment: Option<String>) -> Self {
        match segment {
            Some(segment) => self.0.segments.push(segment),
            None => self.0.segments.clear(),
        }
        self
    }

    pub(crate) fn refused(self, part: &str) -> Refused {
        let FaultBody { segments, rule, code, malformed } = *self.0;
        let mut pointer = String::from(part);
        if !part.is_empty() && !segments.is_empty() {
            pointer.push(':');
        }
        for segment in segments.iter().rev() {
            pointer.push('/');
            pointer.push_str(segment);
        }
        Refused { pointer, rule, code, malformed }
    }
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        let mut fault = Self::new(RefusalCode::InvalidValue, None);
        fault.0.malformed = Some(malformed);
        fault
    }
}

/// Writes to `out` what of `text` may stay.
pub(crate) fn run(
    program: &Program,
    automaton: &Automaton,
    unlisted: Unlisted,
    text: &[u8],
    Made { to: out, tokens, present }: Made<'_>,
    scratch: &mut Scratch,
) -> Result<Fate, Fault> {
    let Scratch { names, sets, text: unescaped, draft, normal, occasion } = scratch;
    let room = automaton.room(DEPTH_MAX + 1);
    if sets.len() < room {
        sets.resize(room, 0);
    }
    automaton.begin(sets);
    out.reserve(text.len());
    let scan = Scanner::new(text, names)?;
    let mut splice = Splice {
        program,
        automaton,
        unlisted,
        scan,
        sets,
        copied: 0,
        out,
        tokens,
        present,
        unescaped,
        draft,
        normal,
        occasion,
    };
    let fate = splice.value(0)?;
    splice.scan.finish()?;
    if let Fate::Kept = fate {
        splice.copy_to(text.len());
    }
    Ok(fate)
}

struct Splice<'p, 'a, 's> {
    program: &'p Program,
    automaton: &'p Automaton,
    unlisted: Unlisted,
    scan: Scanner<'a, 's>,
    sets: &'s mut [u64],
    /// Everything before this byte is written, or is not to be.
    copied: usize,
    out: &'s mut Vec<u8>,
    tokens: &'s mut Vec<Token>,
    present: &'s mut Vec<u8>,
    unescaped: &'s mut String,
    draft: &'s mut String,
    normal: &'s mut String,
    occasion: &'s Occasion,
}

/// What was found in a container.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    /// It was empty as it came.
    Empty,
    Kept,
    /// Nothing of it is kept.
    Gone,
}

/// A state of the output to which it can be cut back.
#[derive(Clone, Copy)]
struct Mark {
    written: usize,
    copied: usize,
    tokens: usize,
}

/// What becomes of a member's name.
enum Naming {
    Stays,
    /// The last of the tokens takes its place.
    Token,
    /// The member goes.
    Dropped,
}

impl Naming {
    fn of(fate: Fate) -> Self {
        match fate {
            Fate::Kept => Self::Stays,
            Fate::Dropped => Self::Dropped,
        }
    }
}

/// Where a container's content was cut, so that exactly one comma stays between two members.
#[derive(Default)]
struct Seam {
    kept_one: bool,
    /// The last member was dropped: copying continues with the next separator.
    open: bool,
}

impl<'p> Splice<'p, '_, '_> {
    fn value(&mut self, level: usize) -> Result<Fate, Fault> {
        let matched = self.automaton.matched(self.sets, level);
        let program: &'p Program = self.program;
        let field = matched.and_then(|i| Some((i, program.fields.get(i)?)));
        match self.scan.peek() {
            Some(b'{') => {
                let enters = self.automaton.enters_object(self.sets, level);
                self.container(field, enters, level, |s| s.object(level))
            }
            Some(b'[') => {
                let enters = self.automaton.enters_array(self.sets, level);
                self.container(field, enters, level, |s| s.array(level))
            }
            _ => self.scalar(field),
        }
    }

    /// A container of which nothing is kept goes, except for the whole text, which has no name.
    fn container(
        &mut self,
        field: Option<(usize, &'p Field)>,
        enters: bool,
        level: usize,
        enter: impl FnOnce(&mut Self) -> Result<Content, Fault>,
    ) -> Result<Fate, Fault> {
        let start = self.scan.at();
        let left = |content: Content, keeps_empty: bool| match content {
            Content::Kept => Fate::Kept,
            Content::Empty if keeps_empty => Fate::Kept,
            Content::Empty | Content::Gone if level == 0 => Fate::Kept,
            Content::Empty | Content::Gone => Fate::Dropped,
        };
        let Some((index, field)) = field else {
            if enters {
                let keeps_empty = self.unlisted == Unlisted::Keep;
                return enter(self).map(|content| left(content, keeps_empty));
            }
            self.scan.skip()?;
            return self.unlisted();
        };
        // Where an entry covers what is below, each scalar there is asked for itself.
        let whole = matches!(field.action, Action::Drop | Action::Redact | Action::Constant { .. });
        if whole || !field.covers_below {
            mark(self.present, index);
        }
        match &field.action {
            Action::Drop => {
                self.scan.skip()?;
                Ok(Fate::Dropped)
            }
            Action::Redact | Action::Constant { .. } => {
                self.scan.skip()?;
                self.replace(start, self.scan.at(), field.action.whole_json());
                Ok(Fate::Kept)
            }
            action if field.covers_below => {
                let keeps_empty = matches!(action, Action::Keep);
                enter(self).map(|content| left(content, keeps_empty))
            }
            action => {
                self.scan.skip()?;
                let place = Place { occasion: self.occasion, offset: start };
                let form = action.rewrite_other(place, self.draft);
                self.put(form, start, self.scan.at(), field)
            }
        }
    }

    fn object(&mut self, level: usize) -> Result<Content, Fault> {
        let (mut seam, mut content) = (Seam::default(), Content::Empty);
        // Two names can become one token; a second member of that name must not be written.
        let mut tokens_as_names = BTreeSet::new();
        let mut object = self.scan.open_object()?;
        while let Some(member) = self.scan.next_member(&mut object)? {
            self.resume(&mut seam, member.lead);
            let row = self.automaton.row(self.scan.name(member.name), member.name.hash);
            self.automaton.step(self.sets, level, row);
            let mark = self.mark();
            let fate = match self.name(level, row, member)? {
                Naming::Dropped => self.scan.skip().map(|()| Fate::Dropped)?,
                Naming::Stays => self.value(level + 1).map_err(|fault| {
                    fault.under(self.automaton.name_of(row).map(|name| pointer_segment(name)))
                })?,
                Naming::Token => {
                    let name: Box<[u8]> =
                        self.tokens.last().map_or(&[][..], Token::as_bytes).into();
                    let fate = self.value(level + 1).map_err(|fault| fault.under(None))?;
                    if matches!(fate, Fate::Kept) && !tokens_as_names.insert(name) {
                        return Err(Fault::new(RefusalCode::InvalidValue, None));
                    }
                    fate
                }
            };
            content = self.settle(&mut seam, fate, member.lead, mark);
        }
        self.close(&seam);
        Ok(content)
    }

    /// The name of a member whose step was made. One that the policy itself writes is no data; any
    /// other that a path reaches through a wildcard is a value like those below it.
    fn name(&mut self, level: usize, row: usize, member: Member) -> Result<Naming, Fault> {
        let (automaton, program) = (self.automaton, self.program);
        if !automaton.is_alive(self.sets, level + 1) || automaton.is_written(self.sets, level, row)
        {
            // Where no entry reaches, name and value are unlisted together.
            return Ok(Naming::Stays);
        }
        let matched = automaton.matched_name(self.sets, level + 1);
        let Some((index, field)) = matched.and_then(|i| Some((i, program.fields.get(i)?))) else {
            return self.unlisted().map(Naming::of);
        };
        mark(self.present, index);
        match &field.action {
            Action::Keep => Ok(Naming::Stays),
            Action::Token(tokenizer) => {
                let name = std::str::from_utf8(self.scan.name(member.name)).unwrap_or_default();
                let Some(token) = tokenizer.token(name, index, self.normal) else {
                    return field.invalid().map(Naming::of);
                };
                self.tokens.push(token);
                self.put(Some(Form::Token), member.start, member.end, field)?;
                Ok(Naming::Token)
            }
            // Whatever else a rule asks for could make one name of two: no plan has it.
            _ => Ok(Naming::Dropped),
        }
    }

    /// A dropped element leaves `null`: the place of the others in the list is part of what they
    /// say.
    fn array(&mut self, level: usize) -> Result<Content, Fault> {
        let (begin, start) = (self.mark(), self.scan.at());
        let mut content = Content::Empty;
        let mut array = self.scan.open_array()?;
        let mut index = 0u64;
        // The same step for each element, but the sets below it are overwritten on the way.
        while self.scan.next_element(&mut array)?.is_some() {
            self.automaton.step(self.sets, level, ROW_EACH);
            let (mark, from) = (self.mark(), self.scan.at());
            let fate =
                self.value(level + 1).map_err(|fault| fault.under(Some(index.to_string())))?;
            match fate {
                Fate::Kept => content = Content::Kept,
                Fate::Dropped => {
                    self.back_to(mark);
                    self.replace(from, self.scan.at(), "null");
                    if content == Content::Empty {
                        content = Content::Gone;
                    }
                }
            }
            index += 1;
        }
        if content == Content::Gone {
            self.back_to(begin);
            self.copy_to(start + 1);
            self.copied = self.scan.at() - 1;
        }
        Ok(content)
    }

    fn scalar(&mut self, field: Option<(usize, &'p Field)>) -> Result<Fate, Fault> {
        let scalar = self.scan.scalar()?;
        let Some((index, field)) = field else { return self.unlisted() };
        if scalar.kind != Kind::Null {
            mark(self.present, index);
        }
        match &field.action {
            Action::Drop => return Ok(Fate::Dropped),
            Action::Keep => return Ok(Fate::Kept),
            action if scalar.kind == Kind::Null => {
                if !action.covers_everything() {
                    return Ok(Fate::Kept);
                }
                let place = Place { occasion: self.occasion, offset: scalar.start };
                let form = action.rewrite_other(place, self.draft);
                return self.put(form, scalar.start, scalar.end, field);
            }
            Action::Redact | Action::Constant { .. } => {
                self.replace(scalar.start, scalar.end, field.action.whole_json());
                return Ok(Fate::Kept);
            }
            _ => {}
        }
        let raw = self.scan.raw(scalar);
        let quoted = matches!(scalar.kind, Kind::Text { .. });
        let text = match scalar.kind {
            Kind::Text { escaped: true } => {
                self.unescaped.clear();
                unescape(raw, self.unescaped);
                Cow::Borrowed(self.unescaped.as_str())
            }
            Kind::Number => canonical(raw),
            _ => Cow::Borrowed(raw),
        };
        let input = Input { text: &text, quoted };
        let place = Place { occasion: self.occasion, offset: scalar.start };
        let form = field.action.rewrite(input, index, self.draft, self.normal, self.tokens, place);
        self.put(form, scalar.start, scalar.end, field)
    }

    /// What a transform left in the draft takes the place of a value.
    fn put(
        &mut self,
        form: Option<Form>,
        start: usize,
        end: usize,
        field: &Field,
    ) -> Result<Fate, Fault> {
        match form {
            Some(Form::Same) => Ok(Fate::Kept),
            Some(form) => {
                self.copy_to(start);
                match form {
                    Form::Text => write_string(self.draft, self.out),
                    Form::Token => {
                        self.out.push(b'"');
                        self.out.extend_from_slice(self.tokens.last().map_or(&[], Token::as_bytes));
                        self.out.push(b'"');
                    }
                    Form::Literal | Form::Same => {
                        self.out.extend_from_slice(self.draft.as_bytes());
                    }
                }
                self.copied = end;
                Ok(Fate::Kept)
            }
            None => field.invalid(),
        }
    }

    /// The fate of what no entry matches.
    fn unlisted(&self) -> Result<Fate, Fault> {
        match self.unlisted {
            Unlisted::Drop => Ok(Fate::Dropped),
            Unlisted::Keep | Unlisted::Untouched => Ok(Fate::Kept),
            Unlisted::Refuse => Err(Fault::new(RefusalCode::UnknownField, None)),
        }
    }

    /// Before a member: copying continues at its comma, or behind it if it is to be the first.
    fn resume(&mut self, seam: &mut Seam, lead: usize) {
        if seam.open {
            self.copied = if seam.kept_one { lead - 1 } else { lead };
            seam.open = false;
        }
    }

    /// After a member. Whatever was written of a dropped one since `mark` is taken back.
    fn settle(&mut self, seam: &mut Seam, fate: Fate, lead: usize, mark: Mark) -> Content {
        match fate {
            Fate::Kept => seam.kept_one = true,
            Fate::Dropped => {
                self.back_to(mark);
                self.copy_to(if seam.kept_one { lead - 1 } else { lead });
                seam.open = true;
            }
        }
        if seam.kept_one { Content::Kept } else { Content::Gone }
    }

    /// Behind the closing bracket.
    fn close(&mut self, seam: &Seam) {
        if seam.open {
            self.copied = self.scan.at() - 1;
        }
    }

    fn mark(&self) -> Mark {
        Mark { written: self.out.len(), copied: self.copied, tokens: self.tokens.len() }
    }

    fn back_to(&mut self, mark: Mark) {
        self.out.truncate(mark.written);
        self.tokens.truncate(mark.tokens);
        self.copied = mark.copied;
    }

    fn replace(&mut self, start: usize, end: usize, with: &str) {
        self.copy_to(start);
        self.out.extend_from_slice(with.as_bytes());
        self.copied = end;
    }

    fn copy_to(&mut self, end: usize) {
        self.out.extend_from_slice(self.scan.bytes(self.copied, end));
        self.copied = end;
    }
}

/// RFC 6901.
fn pointer_segment(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
