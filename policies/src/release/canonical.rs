//! The digest of a plan: what the release means, and nothing of how it was written.

use super::{
    Accounting, Calendar, Choose, ChooseWindows, Cost, Keys, Late, MissingSubject, Noise, Output,
    ReleasePlan, Smoothing, Unit, What,
};
use crate::{
    date::DAY_MS,
    plan::{Decimal, FieldPath, Normalizer, Part, Step},
};

/// Separates this use of the hash from every other. A plan that gets another member gets another
/// version.
const DOMAIN: &[u8] = b"sluicegate/release/v1";

impl ReleasePlan {
    /// BLAKE3 of all members but `digest`, in canonical form.
    pub(crate) fn canonical_digest(&self) -> [u8; 32] {
        let mut form = Form(blake3::Hasher::new());
        form.0.update(DOMAIN);
        form.plan(self);
        *form.0.finalize().as_bytes()
    }
}

/// INVARIANT: two different plans give different bytes. Texts carry their length, lists their
/// number, alternatives their tag, and numbers have a fixed width.
struct Form(blake3::Hasher);

impl Form {
    fn plan(&mut self, plan: &ReleasePlan) {
        // Without `..`: a member that is added to the plan cannot be forgotten here.
        let ReleasePlan {
            name,
            dataset,
            region,
            topic,
            unit,
            schedule,
            bounds,
            keys,
            outputs,
            smoothing,
            accounting,
            cost,
            cap,
            promise,
            digest: _,
        } = plan;
        [name, dataset, region, topic].into_iter().for_each(|t| self.text(t));
        self.unit(unit);
        self.schedule(schedule);
        self.bounds(bounds);
        self.keys(keys);
        self.count(outputs.len());
        outputs.iter().for_each(|o| self.output(o));
        self.tag(u8::from(smoothing.is_some()));
        if let Some(Smoothing { numerator, denominator }) = smoothing {
            self.numbers([*numerator, *denominator]);
        }
        self.tag(match accounting {
            Accounting::Pure => 0,
            Accounting::Zcdp => 1,
        });
        self.cost(*cost);
        self.cost(*cap);
        let super::Promise { epsilon, delta_atto, pane_epsilon_nano } = promise;
        let Decimal { digits, scale } = epsilon;
        self.wide(i128::from(*digits));
        self.tag(*scale);
        self.wide(i128::from(*delta_atto));
        self.wide(i128::from(*pane_epsilon_nano));
    }

    fn unit(&mut self, unit: &Unit) {
        let subject = match unit {
            Unit::Record => return self.tag(0),
            Unit::Subject(subject) => subject,
        };
        let super::SubjectUnit { path, normalizer, domain, key, period, missing } = subject;
        self.tag(1);
        self.path(path);
        self.tag(match normalizer {
            Normalizer::ExactV1 => 0,
            Normalizer::EmailV2 => 6,
            Normalizer::PhoneV2 => 7,
            Normalizer::DigitsV2 => 8,
            Normalizer::CompactV2 => 9,
            Normalizer::NameV2 => 10,
        });
        self.text(domain);
        self.text(key);
        self.calendar(period);
        self.tag(match missing {
            MissingSubject::Drop => 0,
            MissingSubject::AsOneSubject => 1,
        });
    }

    fn schedule(&mut self, schedule: &super::Schedule) {
        let super::Schedule { pane, panes_per_window, lateness_ms, max_skew_ms, late, slack_ms } =
            schedule;
        self.calendar(pane);
        self.numbers([*panes_per_window]);
        [lateness_ms, max_skew_ms, slack_ms].into_iter().for_each(|n| self.wide(i128::from(*n)));
        match late {
            Late::Drop => self.tag(0),
            Late::AssignToOpen => self.tag(1),
            Late::Revise { max, after_ms } => {
                self.tag(2);
                self.numbers([*max]);
                self.wide(i128::from(*after_ms));
            }
        }
    }

    fn calendar(&mut self, calendar: &Calendar) {
        match calendar {
            Calendar::Fixed { size_ms, offset_ms } => {
                self.tag(0);
                self.wide(i128::from(*size_ms));
                self.wide(i128::from(*offset_ms));
            }
            // Whole days from midnight have always been written so.
            Calendar::Local { size_ms, offset_ms: 0, zone } if size_ms % DAY_MS == 0 => {
                self.tag(1);
                self.numbers([u32::try_from(size_ms / DAY_MS).unwrap_or(u32::MAX)]);
                self.text(&zone.0);
            }
            Calendar::Local { size_ms, offset_ms, zone } => {
                self.tag(2);
                self.wide(i128::from(*size_ms));
                self.wide(i128::from(*offset_ms));
                self.text(&zone.0);
            }
        }
    }

    fn bounds(&mut self, bounds: &super::Bounds) {
        let super::Bounds {
            windows_per_period,
            choose_windows,
            keys_per_window,
            records_per_key,
            choose,
        } = bounds;
        self.numbers([*windows_per_period, *keys_per_window, *records_per_key]);
        self.tag(match choose_windows {
            ChooseWindows::First => 0,
            ChooseWindows::Panel => 1,
        });
        self.tag(match choose {
            Choose::First => 0,
            Choose::Hash => 1,
        });
    }

    fn keys(&mut self, keys: &Keys) {
        match keys {
            Keys::Whole => self.tag(0),
            Keys::Public { path, values } => {
                self.tag(1);
                self.path(path);
                self.count(values.len());
                values.iter().for_each(|v| self.text(v));
            }
            Keys::Unknown { path, max_bytes, threshold, raw_floor } => {
                self.tag(2);
                self.path(path);
                self.numbers([*max_bytes]);
                self.wide(i128::from(*threshold));
                self.tag(u8::from(raw_floor.is_some()));
                raw_floor.iter().for_each(|n| self.numbers([*n]));
            }
        }
    }

    fn output(&mut self, output: &Output) {
        let Output { name, what, noise, sensitivity, cost } = output;
        self.text(name);
        match what {
            What::Subjects => self.tag(0),
            What::Count => self.tag(1),
            What::Sum { path, scale, lo, hi } => {
                self.tag(2);
                self.path(path);
                self.tag(*scale);
                self.wide(i128::from(*lo));
                self.wide(i128::from(*hi));
            }
        }
        let (tag, scale) = match noise {
            Noise::Laplace { scale } => (0, scale),
            Noise::Gaussian { sigma } => (1, sigma),
        };
        self.tag(tag);
        self.wide(i128::from(scale.0));
        let super::Sensitivity { l0, l1, l2_squared, linf } = sensitivity;
        self.numbers([*l0]);
        [i128::from(*l1), *l2_squared, i128::from(*linf)].into_iter().for_each(|n| self.wide(n));
        self.cost(*cost);
    }

    /// The steps, not the spelling: `a.b` and `'a'.b` are one place.
    fn path(&mut self, path: &FieldPath) {
        match &path.part {
            Part::Value => self.tag(0),
            Part::Key => self.tag(1),
            Part::Header(name) => {
                self.tag(2);
                self.text(name);
            }
            Part::Name => self.tag(3),
        }
        self.count(path.steps.len());
        for step in &path.steps {
            match step {
                Step::Member(name) => {
                    self.tag(0);
                    self.text(name);
                }
                Step::Each => self.tag(1),
                Step::AnyMember => self.tag(2),
                Step::AnyDepth => self.tag(3),
            }
        }
    }

    fn cost(&mut self, cost: Cost) {
        let Cost { loss, delta } = cost;
        self.wide(i128::from(loss));
        self.wide(i128::from(delta));
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.update(text.as_bytes());
    }

    fn count(&mut self, n: usize) {
        self.0.update(&(n as u64).to_le_bytes());
    }

    fn numbers<const N: usize>(&mut self, numbers: [u32; N]) {
        for n in numbers {
            self.0.update(&n.to_le_bytes());
        }
    }

    fn wide(&mut self, n: i128) {
        self.0.update(&n.to_le_bytes());
    }

    fn tag(&mut self, tag: u8) {
        self.0.update(&[tag]);
    }
}
