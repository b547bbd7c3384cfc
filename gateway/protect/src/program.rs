//! A plan compiled, and the way of one record through it: value, key, headers.
//!
//! Must never leave a part of a record in the output after a refusal.

use std::{borrow::Cow, sync::Arc};

use sluicegate_policies::{
    FieldPath, FieldPlan, OnInvalid, Part, Plan, Randomize, RefusalCode, Spending, Step, Transform,
    Unlisted,
};

use crate::{
    Header, Protected, RecordRef, Refused, Scratch,
    actions::{
        Action,
        randomize::{Occasion, Place, RANDOMIZED_HEADER, Randomizer, Randomness, is_label_of},
        token::{Token, Tokenizers},
        value::{Form, Input},
    },
    automaton::{self, Automaton},
    json::{
        Malformed, What, find, is_json,
        splice::{self, Fate, Fault},
    },
    keys::{KeyError, Keyring},
};

/// One plan, compiled for application; share it between threads.
pub struct Program {
    pub(crate) fields: Box<[Field]>,
    pub(crate) unlisted: Unlisted,
    value: Automaton,
    key: Automaton,
    /// The entry for a key that is a text.
    key_text: Option<usize>,
    /// The entry for each header that the plan knows.
    headers: Box<[(Arc<str>, usize)]>,
    /// Present if a field is answered afresh for each record.
    randomness: Option<Arc<Randomness>>,
    /// Where the subjects of memoized answers stand.
    subjects: Box<[FieldPath]>,
    /// A header for each randomized field.
    labels: Box<[Header]>,
    /// Headers that the plan reads: of two of one name nobody could say which one counts.
    read_once: Box<[Arc<str>]>,
}

/// An entry of the plan.
pub(crate) struct Field {
    pub action: Action,
    /// Ends in `**`: a container is entered, and each scalar in it matches.
    pub covers_below: bool,
    pub on_invalid: OnInvalid,
    pub rule: Option<Arc<str>>,
    /// The author's spelling of the path, if the field is kept.
    pub shown_as: Option<Arc<str>>,
}

impl Program {
    /// `randomness` is that of all programs that may make copies of one record.
    pub fn compile(
        plan: &Plan,
        tenant: &str,
        keys: &dyn Keyring,
        randomness: &Arc<Randomness>,
    ) -> Result<Self, KeyError> {
        let mut tokenizers = Tokenizers::new(tenant, keys);
        let subjects = subjects(plan);
        let fields = plan.fields.iter().map(|field| {
            Ok(Field {
                action: match &field.transform {
                    Transform::Tokenize(token_use) => Action::Token(tokenizers.get(token_use)?),
                    Transform::Randomize(r) => {
                        let subject = subject_of(&r.spending);
                        let subject = subjects.iter().position(|s| Some(s) == subject);
                        let (subject, written) =
                            (subject.unwrap_or(usize::MAX), &field.path.written);
                        let made = Randomizer::new(r, written, subject, tenant, keys, randomness)?;
                        Action::Randomize(Box::new(made))
                    }
                    other => Action::new(other),
                },
                covers_below: matches!(field.path.steps.last(), Some(Step::AnyDepth)),
                on_invalid: field.on_invalid,
                rule: field.rules.first().cloned(),
                shown_as: (field.transform == Transform::Keep).then(|| field.path.written.clone()),
            })
        });
        let fields = fields.collect::<Result<_, KeyError>>()?;
        Ok(Self {
            fields,
            unlisted: plan.unlisted,
            value: automaton(plan, &Part::Value),
            key: automaton(plan, &Part::Key),
            key_text: entries(plan)
                .filter(|(_, f)| f.path.part == Part::Key && is_whole(f))
                .map(|(i, _)| i)
                .last(),
            headers: headers(plan),
            randomness: draws_afresh(plan).then(|| randomness.clone()),
            read_once: read_once(plan, &subjects),
            subjects,
            labels: labels(plan),
        })
    }

    /// Writes into `out` what of `record` may go out. Whatever was in `out` is gone, and after a
    /// refusal it is empty.
    pub fn apply(&self, record: RecordRef<'_>, out: &mut Protected) -> Result<(), Refused> {
        out.scratch.occasion.renew();
        self.apply_copy(record, out)
    }

    /// The same for a further copy of the very record that was applied last with `out`: what is
    /// randomized in the same way in both gets the same answer, so that two copies tell no more
    /// than one.
    pub fn apply_copy(&self, record: RecordRef<'_>, out: &mut Protected) -> Result<(), Refused> {
        out.clear();
        if self.is_untouched() {
            untouched(record, out);
            return Ok(());
        }
        out.present.resize(self.fields.len().div_ceil(8), 0);
        self.read_once(record)?;
        self.begin(record, &mut out.scratch.occasion);
        let done = self
            .apply_value(record.value, out)
            .and_then(|()| record.key.map_or(Ok(()), |key| self.apply_key(key, out)))
            .and_then(|()| {
                let mut headers = (2..).zip(record.headers);
                headers.try_for_each(|(part, h)| self.apply_header(part, h, out))
            });
        match done {
            Ok(()) => out.headers.extend(self.labels.iter().cloned()),
            Err(_) => out.clear(),
        }
        done
    }

    /// Whether records pass as they are.
    pub fn is_untouched(&self) -> bool {
        self.unlisted == Unlisted::Untouched
    }

    fn read_once(&self, record: RecordRef<'_>) -> Result<(), Refused> {
        let twice = self.read_once.iter().find(|name| find::is_repeated(name, record.headers));
        twice.map_or(Ok(()), |name| {
            let malformed = Malformed { offset: 0, what: What::DuplicateHeader };
            Err(Fault::from(malformed).refused(&format!("header:{name}")))
        })
    }

    fn begin(&self, record: RecordRef<'_>, occasion: &mut Occasion) {
        if let Some(randomness) = &self.randomness {
            occasion.number(randomness);
        }
        occasion.subjects.clear();
        // A malformed record has no subject here, and is refused further down.
        let found = self.subjects.iter().map(|path| find::find(path, record).ok().flatten());
        occasion.subjects.extend(found.map(|subject| subject.map(Cow::into_owned)));
    }

    fn apply_value(&self, value: &[u8], out: &mut Protected) -> Result<(), Refused> {
        if value.is_empty() {
            return Ok(());
        }
        let Protected { value: to, tokens, present, scratch, .. } = out;
        scratch.occasion.part = 0;
        let made = Made { to, tokens, present };
        let fate = splice::run(self, &self.value, self.unlisted, value, made, scratch)
            .map_err(|fault| fault.refused(""))?;
        if let Fate::Dropped = fate {
            to.clear();
            to.extend_from_slice(b"null");
        }
        Ok(())
    }

    fn apply_key(&self, key: &[u8], out: &mut Protected) -> Result<(), Refused> {
        let Protected { key: to, has_key, tokens, present, scratch, .. } = out;
        scratch.occasion.part = 1;
        let made = Made { to, tokens, present };
        let fate = if is_json(key).map_err(|m| Fault::from(m).refused("key"))? {
            let unlisted = text_unlisted(self.unlisted);
            splice::run(self, &self.key, unlisted, key, made, scratch)
        } else {
            self.apply_text(self.key_text, key, made, scratch)
        };
        *has_key = matches!(fate.map_err(|fault| fault.refused("key"))?, Fate::Kept);
        Ok(())
    }

    fn apply_header(&self, part: u32, header: &Header, out: &mut Protected) -> Result<(), Refused> {
        let (name, value) = header;
        if name.eq_ignore_ascii_case(RANDOMIZED_HEADER) {
            self.apply_label(header, out);
            return Ok(());
        }
        let Protected { headers, tokens, present, scratch, .. } = out;
        scratch.occasion.part = part;
        let known = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let field = known.map(|(_, field)| *field);
        let mut bytes = Vec::with_capacity(value.as_ref().map_or(0, Vec::len));
        let made = Made { to: &mut bytes, tokens, present };
        let kept = match value {
            Some(value) => self.apply_text(field, value, made, scratch).map(|fate| match fate {
                Fate::Kept => Some(Some(bytes)),
                Fate::Dropped => None,
            }),
            None => self.apply_null(field, scratch),
        };
        let kept = kept.map_err(|fault| {
            fault.refused(&format!("header:{}", known.map_or("", |(name, _)| name)))
        })?;
        headers.extend(kept.map(|value| (name.clone(), value)));
        Ok(())
    }

    /// A stored record's label goes with its field, to a reader as it stands. Where this program
    /// randomizes, labels are its own: a foreign one would have consumers take out noise that is
    /// not there. (No publisher may send one.)
    fn apply_label(&self, header: &Header, out: &mut Protected) {
        let label = header.1.as_deref().unwrap_or_default();
        let mut shown = self.fields.iter().filter_map(|f| f.shown_as.as_deref());
        if self.labels.is_empty() && shown.any(|field| is_label_of(field, label)) {
            out.headers.push(header.clone());
        }
    }

    /// A header whose value is null: what stands for it, if it is kept.
    fn apply_null(
        &self,
        field: Option<usize>,
        scratch: &mut Scratch,
    ) -> Result<Option<Option<Vec<u8>>>, Fault> {
        let Some(field) = field.and_then(|i| self.fields.get(i)) else {
            return Ok((text_unlisted(self.unlisted) == Unlisted::Keep).then_some(None));
        };
        match &field.action {
            Action::Drop => Ok(None),
            action if action.covers_everything() => {
                let place = Place { occasion: &scratch.occasion, offset: 0 };
                match action.rewrite_other(place, &mut scratch.draft) {
                    Some(_) => Ok(Some(Some(scratch.draft.as_bytes().to_vec()))),
                    None => field.invalid().map(|_| None),
                }
            }
            _ => Ok(Some(None)),
        }
    }

    /// A header, or a key that is no JSON.
    fn apply_text(
        &self,
        field: Option<usize>,
        bytes: &[u8],
        Made { to, tokens, present }: Made<'_>,
        scratch: &mut Scratch,
    ) -> Result<Fate, Fault> {
        let Some((index, field)) = field.and_then(|i| Some((i, self.fields.get(i)?))) else {
            return Ok(match text_unlisted(self.unlisted) {
                Unlisted::Keep | Unlisted::Untouched => {
                    to.extend_from_slice(bytes);
                    Fate::Kept
                }
                Unlisted::Drop | Unlisted::Refuse => Fate::Dropped,
            });
        };
        mark(present, index);
        let Scratch { draft, normal, occasion, .. } = scratch;
        let place = Place { occasion, offset: 0 };
        let form = match &field.action {
            Action::Keep => Some(Form::Same),
            Action::Drop => return Ok(Fate::Dropped),
            Action::Redact | Action::Constant { .. } => {
                draft.clear();
                draft.push_str(field.action.whole_text());
                Some(Form::Text)
            }
            action => match std::str::from_utf8(bytes) {
                Ok(text) => {
                    let input = Input { text, quoted: true };
                    action.rewrite(input, index, draft, normal, tokens, place)
                }
                Err(_) => action.rewrite_other(place, draft),
            },
        };
        match form {
            Some(Form::Same) => to.extend_from_slice(bytes),
            Some(Form::Text | Form::Literal) => to.extend_from_slice(draft.as_bytes()),
            Some(Form::Token) => {
                to.extend_from_slice(tokens.last().map_or(&[], Token::as_bytes));
            }
            None => return field.invalid(),
        }
        Ok(Fate::Kept)
    }
}

fn untouched(record: RecordRef<'_>, out: &mut Protected) {
    out.value.extend_from_slice(record.value);
    out.key.extend_from_slice(record.key.unwrap_or_default());
    out.has_key = record.key.is_some();
    out.headers.extend_from_slice(record.headers);
    // The ledger says `**` of it, and it is there.
    out.present.push(1);
}

impl Field {
    /// What happens to a value that does not fit.
    pub(crate) fn invalid(&self) -> Result<Fate, Fault> {
        match self.on_invalid {
            OnInvalid::Drop => Ok(Fate::Dropped),
            OnInvalid::Refuse => Err(Fault::new(RefusalCode::InvalidValue, self.rule.clone())),
        }
    }
}

/// What a pass over one part of a record makes.
pub(super) struct Made<'o> {
    pub to: &'o mut Vec<u8>,
    pub tokens: &'o mut Vec<Token>,
    pub present: &'o mut Vec<u8>,
}

/// The record has this field of the plan.
pub(super) fn mark(present: &mut [u8], field: usize) {
    if let Some(byte) = present.get_mut(field / 8) {
        *byte |= 1 << (field % 8);
    }
}

fn entries(plan: &Plan) -> impl Iterator<Item = (usize, &FieldPlan)> {
    plan.fields.iter().enumerate()
}

fn randomized(plan: &Plan) -> impl Iterator<Item = (&FieldPlan, &Randomize)> {
    plan.fields.iter().filter_map(|field| match &field.transform {
        Transform::Randomize(r) => Some((field, &**r)),
        _ => None,
    })
}

fn draws_afresh(plan: &Plan) -> bool {
    randomized(plan).any(|(_, r)| matches!(r.spending, Spending::PerRecord { .. }))
}

fn subject_of(spending: &Spending) -> Option<&FieldPath> {
    match spending {
        Spending::PerRecord { .. } => None,
        Spending::Memoized { subject, .. } => Some(subject),
    }
}

/// Each once.
fn subjects(plan: &Plan) -> Box<[FieldPath]> {
    let mut paths: Vec<FieldPath> = Vec::new();
    for path in randomized(plan).filter_map(|(_, r)| subject_of(&r.spending)) {
        if !paths.contains(path) {
            paths.push(path.clone());
        }
    }
    paths.into()
}

fn labels(plan: &Plan) -> Box<[Header]> {
    let label = |(field, r): (&FieldPlan, &Randomize)| {
        (RANDOMIZED_HEADER.to_owned(), Some(r.label(&field.path.written).into_bytes()))
    };
    randomized(plan).map(label).collect()
}

fn automaton(plan: &Plan, part: &Part) -> Automaton {
    let paths = entries(plan).filter_map(|(i, entry)| {
        let of_name = entry.path.part == Part::Name && *part == Part::Value;
        let steps = &*entry.path.steps;
        (of_name || entry.path.part == *part).then_some(automaton::Path {
            field: i,
            steps,
            of_name,
        })
    });
    Automaton::new(&paths.collect::<Vec<_>>(), &plan.names)
}

/// Each once. The gateway's own labels repeat.
fn read_once(plan: &Plan, subjects: &[FieldPath]) -> Box<[Arc<str>]> {
    let paths = plan.fields.iter().map(|field| &field.path).chain(subjects);
    let headers = paths.filter_map(|path| match &path.part {
        Part::Header(name) if !name.eq_ignore_ascii_case(RANDOMIZED_HEADER) => Some(name.clone()),
        _ => None,
    });
    let mut names: Vec<Arc<str>> = headers.collect();
    names.sort_unstable();
    names.dedup();
    names.into()
}

/// The path names a whole text: it has no steps, or only `**`.
fn is_whole(field: &FieldPlan) -> bool {
    field.path.steps.iter().all(|step| *step == Step::AnyDepth)
}

/// The last entry for each name.
fn headers(plan: &Plan) -> Box<[(Arc<str>, usize)]> {
    let mut headers: Vec<(Arc<str>, usize)> = Vec::new();
    for (i, field) in entries(plan).filter(|(_, field)| is_whole(field)) {
        let Part::Header(name) = &field.path.part else { continue };
        headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        headers.push((name.clone(), i));
    }
    headers.into()
}

/// Headers and keys that nobody listed do not refuse a record.
fn text_unlisted(unlisted: Unlisted) -> Unlisted {
    match unlisted {
        Unlisted::Refuse | Unlisted::Drop => Unlisted::Drop,
        Unlisted::Keep | Unlisted::Untouched => Unlisted::Keep,
    }
}
