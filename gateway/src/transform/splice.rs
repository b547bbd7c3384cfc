//! The pass over a JSON text: reads it once, and writes it again without what must not be in it.
//! What stays is copied in stretches as long as possible, bytes as they stand.
//!
//! Must never write anything but valid JSON, and never let a container through because one of
//! its parents was allowed: each scalar is decided on its own.

use std::{borrow::Cow, sync::Arc};

use sluicegate_policies::{RefusalCode, Unlisted, number::canonical};

use super::{
    Refused, Scratch,
    automaton::{Automaton, ROW_EACH},
    program::{Field, Program},
    randomise::{Occasion, Place},
    rewrite::{Action, Form, Input},
    token::Token,
};
use crate::json::{DEPTH_MAX, Kind, Malformed, Scanner, unescape, write_string};

/// What became of a value. INVARIANT: of a dropped value nothing was written.
pub(super) enum Fate {
    Kept,
    Dropped,
}

/// A refusal on its way up; each container adds where it is.
pub(super) struct Fault(Box<FaultBody>);

struct FaultBody {
    /// Innermost first.
    segments: Vec<String>,
    rule: Option<Arc<str>>,
    code: RefusalCode,
    malformed: Option<Malformed>,
}

impl Fault {
    pub(super) fn new(code: RefusalCode, rule: Option<Arc<str>>) -> Self {
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

    pub(super) fn refused(self, part: &str) -> Refused {
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
pub(super) fn run(
    program: &Program,
    automaton: &Automaton,
    unlisted: Unlisted,
    text: &[u8],
    out: &mut Vec<u8>,
    tokens: &mut Vec<Token>,
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
    unescaped: &'s mut String,
    draft: &'s mut String,
    normal: &'s mut String,
    occasion: &'s Occasion,
}

/// Where a container's content was cut, so that exactly one comma stays between two members.
#[derive(Default)]
struct Seam {
    kept_one: bool,
    /// The last member was dropped: copying goes on with the next separator.
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
                self.container(field.map(|(_, f)| f), enters, |s| s.object(level))
            }
            Some(b'[') => {
                let enters = self.automaton.enters_array(self.sets, level);
                self.container(field.map(|(_, f)| f), enters, |s| s.array(level))
            }
            _ => self.scalar(field),
        }
    }

    fn container(
        &mut self,
        field: Option<&'p Field>,
        enters: bool,
        enter: impl FnOnce(&mut Self) -> Result<(), Fault>,
    ) -> Result<Fate, Fault> {
        let start = self.scan.at();
        let Some(field) = field else {
            if enters {
                return enter(self).map(|()| Fate::Kept);
            }
            self.scan.skip()?;
            return self.unlisted();
        };
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
            _ if field.covers_below => enter(self).map(|()| Fate::Kept),
            action => {
                self.scan.skip()?;
                let place = Place { occasion: self.occasion, offset: start };
                let form = action.rewrite_other(place, self.draft);
                self.put(form, start, self.scan.at(), field)
            }
        }
    }

    fn object(&mut self, level: usize) -> Result<(), Fault> {
        let mut seam = Seam::default();
        let mut object = self.scan.open_object()?;
        while let Some(member) = self.scan.next_member(&mut object)? {
            self.resume(&mut seam, member.lead);
            let row = self.automaton.row(self.scan.name(member.name), member.name.hash);
            self.automaton.step(self.sets, level, row);
            let fate = self.value(level + 1).map_err(|fault| {
                fault.under(self.automaton.name_of(row).map(|name| pointer_segment(name)))
            })?;
            self.settle(&mut seam, fate, member.lead);
        }
        self.close(&seam);
        Ok(())
    }

    fn array(&mut self, level: usize) -> Result<(), Fault> {
        let mut seam = Seam::default();
        let mut array = self.scan.open_array()?;
        let mut index = 0u64;
        // The same step for each element, but the sets below it are overwritten on the way.
        while let Some(lead) = self.scan.next_element(&mut array)? {
            self.resume(&mut seam, lead);
            self.automaton.step(self.sets, level, ROW_EACH);
            let fate =
                self.value(level + 1).map_err(|fault| fault.under(Some(index.to_string())))?;
            self.settle(&mut seam, fate, lead);
            index += 1;
        }
        self.close(&seam);
        Ok(())
    }

    fn scalar(&mut self, field: Option<(usize, &'p Field)>) -> Result<Fate, Fault> {
        let scalar = self.scan.scalar()?;
        let Some((index, field)) = field else { return self.unlisted() };
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
            Unlisted::Keep => Ok(Fate::Kept),
            Unlisted::Refuse => Err(Fault::new(RefusalCode::UnknownField, None)),
        }
    }

    /// Before a member: copying goes on at its comma, or behind it if it is to be the first.
    fn resume(&mut self, seam: &mut Seam, lead: usize) {
        if seam.open {
            self.copied = if seam.kept_one { lead - 1 } else { lead };
            seam.open = false;
        }
    }

    /// After a member.
    fn settle(&mut self, seam: &mut Seam, fate: Fate, lead: usize) {
        match fate {
            Fate::Kept => seam.kept_one = true,
            Fate::Dropped => {
                self.copy_to(if seam.kept_one { lead - 1 } else { lead });
                seam.open = true;
            }
        }
    }

    /// Behind the closing bracket.
    fn close(&mut self, seam: &Seam) {
        if seam.open {
            self.copied = self.scan.at() - 1;
        }
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
