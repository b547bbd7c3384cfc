//! A classic consumer group: who is in it, and who has which partitions. Members agree on that among themselves; the
//! broker lets them meet and passes on what their leader decides. Nothing here outlives the process: members that
//! are not known any more join again, and go on from their committed offsets.

use std::collections::BTreeMap;

use sluicegate_wire::codes;
use tokio::{
    sync::oneshot,
    time::{Duration, Instant},
};

/// Members of one group.
const MEMBERS_MAX: usize = 1_000;
const SESSION_MAX: Duration = Duration::from_secs(30 * 60);

#[derive(Default)]
pub(super) struct Group {
    pub(super) state: State,
    pub(super) generation: i32,
    /// What members call themselves, such as `consumer`.
    pub(super) kind: String,
    /// How partitions are shared out.
    pub(super) protocol: String,
    leader: String,
    pub(super) members: BTreeMap<String, Member>,
    /// Names that were given out, until when they may be used.
    pending: BTreeMap<String, Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum State {
    #[default]
    Empty,
    /// Members are waited for until then.
    Preparing(Instant),
    /// The leader's decision is.
    Completing(Instant),
    Stable,
}

impl State {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Preparing(_) => "PreparingRebalance",
            Self::Completing(_) => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

pub(super) struct Member {
    pub(super) instance: Option<String>,
    pub(super) client: String,
    session: Duration,
    rebalance: Duration,
    pub(super) protocols: Vec<(String, Vec<u8>)>,
    pub(super) assignment: Vec<u8>,
    /// When it is given up.
    until: Instant,
    joining: Option<oneshot::Sender<Result<Joined, i16>>>,
    syncing: Option<oneshot::Sender<Result<Vec<u8>, i16>>>,
}

/// Who wants to join.
#[derive(Clone)]
pub(super) struct Joining {
    /// Empty for one that has no name yet; then it gets this one.
    pub(super) member: String,
    pub(super) fresh: String,
    /// Whether it is told its name first, before it is a member.
    pub(super) asks_twice: bool,
    pub(super) instance: Option<String>,
    pub(super) client: String,
    pub(super) kind: String,
    pub(super) session: Duration,
    pub(super) rebalance: Duration,
    pub(super) protocols: Vec<(String, Vec<u8>)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Joined {
    pub(super) generation: i32,
    pub(super) kind: String,
    pub(super) protocol: String,
    pub(super) leader: String,
    pub(super) member: String,
    /// For the leader: all members with what they told.
    pub(super) members: Vec<(String, Option<String>, Vec<u8>)>,
}

pub(super) type Waiting<T> = oneshot::Sender<Result<T, i16>>;

/// Who waits may have gone.
fn tell<T>(waiting: Option<Waiting<T>>, what: Result<T, i16>) {
    if let Some(waiting) = waiting {
        let _told = waiting.send(what);
    }
}

impl Group {
    /// Nothing of it is left that anyone could ask for.
    pub(super) fn is_over(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty()
    }

    /// What is due by now: members that are silent go, and who has not come is not waited for any longer.
    pub(super) fn tick(&mut self, now: Instant) {
        self.pending.retain(|_, until| *until > now);
        let silent = |member: &Member| {
            member.until <= now && member.joining.is_none() && member.syncing.is_none()
        };
        let before = self.members.len();
        self.members.retain(|_, member| !silent(member));
        if self.members.len() < before {
            self.lost(now);
        }
        match self.state {
            State::Preparing(until) if until <= now => {
                self.members.retain(|_, member| member.joining.is_some());
                self.pending.clear();
            }
            State::Completing(until) if until <= now => {
                self.members.retain(|_, member| member.syncing.is_some());
                self.prepare(now);
            }
            _ => {}
        }
        self.complete(now);
    }

    pub(super) fn join(&mut self, now: Instant, joining: Joining, waiting: Waiting<Joined>) {
        self.tick(now);
        if let Err(code) = self.enter(now, joining, waiting) {
            tracing::debug!(event = "embedded-join-refused", code);
        }
        self.complete(now);
    }

    fn enter(
        &mut self,
        now: Instant,
        joining: Joining,
        waiting: Waiting<Joined>,
    ) -> Result<(), i16> {
        let refuse = |waiting: Waiting<Joined>, code: i16| {
            tell(Some(waiting), Err(code));
            Err(code)
        };
        if joining.session.is_zero() || joining.session > SESSION_MAX {
            return refuse(waiting, codes::INVALID_SESSION_TIMEOUT);
        }
        if !self.agrees(&joining) {
            return refuse(waiting, codes::INCONSISTENT_GROUP_PROTOCOL);
        }
        let id = match self.named(&joining) {
            Ok(Some(id)) => id,
            Ok(None) => {
                self.pending.insert(joining.fresh, now + joining.session);
                return refuse(waiting, codes::MEMBER_ID_REQUIRED);
            }
            Err(code) => return refuse(waiting, code),
        };
        self.pending.remove(&id);
        let known = self.members.get_mut(&id);
        let same = known.as_ref().is_some_and(|known| known.protocols == joining.protocols);
        let repeats = match self.state {
            // The answer was lost on the way.
            State::Completing(_) => same,
            // A leader that joins again wants the partitions to be shared out anew.
            State::Stable => same && id != self.leader,
            _ => false,
        };
        if repeats {
            tell(Some(waiting), Ok(self.joined(&id)));
            return Ok(());
        }
        let Joining { instance, client, session, rebalance, protocols, kind, .. } = joining;
        let until = now + session;
        let assignment = known.map(|known| std::mem::take(&mut known.assignment));
        let assignment = assignment.unwrap_or_default();
        let (joining, syncing) = (Some(waiting), None);
        let member = Member {
            instance,
            client,
            session,
            rebalance,
            protocols,
            assignment,
            until,
            joining,
            syncing,
        };
        let replaced = self.members.insert(id, member);
        if let Some(replaced) = replaced {
            // A connection that waits for what another one now waits for.
            tell(replaced.joining, Err(codes::UNKNOWN_MEMBER_ID));
            tell(replaced.syncing, Err(codes::REBALANCE_IN_PROGRESS));
        }
        self.kind = kind;
        if !matches!(self.state, State::Preparing(_)) {
            self.prepare(now);
        }
        Ok(())
    }

    /// Whether there is a protocol that it and all others have.
    fn agrees(&self, joining: &Joining) -> bool {
        let others = || self.members.iter().filter(|(id, _)| **id != joining.member);
        let all = |name: &str| others().all(|(_, member)| member.has(name));
        let kind = others().next().is_none() || self.kind == joining.kind;
        kind && !joining.kind.is_empty() && joining.protocols.iter().any(|(name, _)| all(name))
    }

    /// Under which name it is a member; none if it must first be told one.
    fn named(&mut self, joining: &Joining) -> Result<Option<String>, i16> {
        let of_instance = joining.instance.as_ref().and_then(|instance| self.of(instance));
        let is_new = joining.member.is_empty();
        if is_new && of_instance.is_none() && self.members.len() + self.pending.len() >= MEMBERS_MAX
        {
            return Err(codes::GROUP_MAX_SIZE_REACHED);
        }
        match (is_new, of_instance) {
            // One that was started again takes the place that it had.
            (true, Some(old)) => {
                if let Some(old) = self.members.remove(&old) {
                    tell(old.joining, Err(codes::FENCED_INSTANCE_ID));
                    tell(old.syncing, Err(codes::FENCED_INSTANCE_ID));
                }
                Ok(Some(joining.fresh.clone()))
            }
            (true, None) if joining.asks_twice && joining.instance.is_none() => Ok(None),
            (true, None) => Ok(Some(joining.fresh.clone())),
            (false, Some(id)) if id != joining.member => Err(codes::FENCED_INSTANCE_ID),
            (false, _) => {
                let id = &joining.member;
                let known = self.members.contains_key(id) || self.pending.contains_key(id);
                known.then(|| Some(id.clone())).ok_or(codes::UNKNOWN_MEMBER_ID)
            }
        }
    }

    fn of(&self, instance: &str) -> Option<String> {
        let same = |(_, member): &(&String, &Member)| member.instance.as_deref() == Some(instance);
        self.members.iter().find(same).map(|(id, _)| id.clone())
    }

    fn prepare(&mut self, now: Instant) {
        let wait = self.members.values().map(|member| member.rebalance).max().unwrap_or_default();
        for member in self.members.values_mut() {
            tell(member.syncing.take(), Err(codes::REBALANCE_IN_PROGRESS));
        }
        self.state = State::Preparing(now + wait);
    }

    /// Somebody went.
    fn lost(&mut self, now: Instant) {
        if matches!(self.state, State::Stable | State::Completing(_)) {
            self.prepare(now);
        }
    }

    /// A new generation, once all have joined.
    fn complete(&mut self, now: Instant) {
        let all = self.pending.is_empty() && self.members.values().all(|m| m.joining.is_some());
        if !matches!(self.state, State::Preparing(_)) || !all {
            return;
        }
        self.generation = self.generation.wrapping_add(1);
        let Some(first) = self.members.keys().next().cloned() else {
            self.state = State::Empty;
            self.protocol.clear();
            return;
        };
        if !self.members.contains_key(&self.leader) {
            self.leader = first;
        }
        self.protocol = self.voted();
        let wait = self.members.values().map(|member| member.rebalance).max().unwrap_or_default();
        self.state = State::Completing(now + wait);
        let told: Vec<(String, Joined)> =
            self.members.keys().map(|id| (id.clone(), self.joined(id))).collect();
        for (id, joined) in told {
            if let Some(member) = self.members.get_mut(&id) {
                member.until = now + member.session;
                member.assignment.clear();
                tell(member.joining.take(), Ok(joined));
            }
        }
    }

    /// Of the protocols that all have, the one that most like best.
    fn voted(&self) -> String {
        let mut votes = BTreeMap::<&str, usize>::new();
        let by_all = |name: &str| self.members.values().all(|member| member.has(name));
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| by_all(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.into_iter().max_by_key(|(_, votes)| *votes);
        most.map(|(name, _)| name.to_owned()).unwrap_or_default()
    }

    fn joined(&self, id: &str) -> Joined {
        let told = |(id, member): (&String, &Member)| {
            let metadata = member.protocols.iter().find(|(name, _)| *name == self.protocol);
            let metadata = metadata.map(|(_, metadata)| metadata.clone()).unwrap_or_default();
            (id.clone(), member.instance.clone(), metadata)
        };
        Joined {
            generation: self.generation,
            kind: self.kind.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            member: id.to_owned(),
            members: match id == self.leader {
                true => self.members.iter().map(told).collect(),
                false => vec![],
            },
        }
    }

    /// The member of a request, of this generation if one is named.
    fn member(
        &mut self,
        id: &str,
        instance: Option<&str>,
        generation: Option<i32>,
    ) -> Result<&mut Member, i16> {
        if let Some(of) = instance.and_then(|instance| self.of(instance))
            && of != id
        {
            return Err(codes::FENCED_INSTANCE_ID);
        }
        let is_current = generation.is_none_or(|generation| generation == self.generation);
        let member = self.members.get_mut(id).ok_or(codes::UNKNOWN_MEMBER_ID)?;
        is_current.then_some(member).ok_or(codes::ILLEGAL_GENERATION)
    }

    pub(super) fn sync(
        &mut self,
        now: Instant,
        (id, instance, generation): (&str, Option<&str>, i32),
        assignments: Vec<(String, Vec<u8>)>,
        waiting: Waiting<Vec<u8>>,
    ) {
        self.tick(now);
        let state = self.state;
        let member = match self.member(id, instance, Some(generation)) {
            Ok(member) => member,
            Err(code) => return tell(Some(waiting), Err(code)),
        };
        member.until = now + member.session;
        match state {
            State::Stable => tell(Some(waiting), Ok(member.assignment.clone())),
            State::Completing(_) => {
                let before = member.syncing.replace(waiting);
                tell(before, Err(codes::REBALANCE_IN_PROGRESS));
                if id == self.leader {
                    self.decided(now, assignments);
                }
            }
            _ => tell(Some(waiting), Err(codes::REBALANCE_IN_PROGRESS)),
        }
    }

    /// The leader has shared out the partitions.
    fn decided(&mut self, now: Instant, assignments: Vec<(String, Vec<u8>)>) {
        self.state = State::Stable;
        for (id, assignment) in assignments {
            if let Some(member) = self.members.get_mut(&id) {
                member.assignment = assignment;
            }
        }
        for member in self.members.values_mut() {
            member.until = now + member.session;
            tell(member.syncing.take(), Ok(member.assignment.clone()));
        }
    }

    pub(super) fn heartbeat(
        &mut self,
        now: Instant,
        (id, instance, generation): (&str, Option<&str>, i32),
    ) -> i16 {
        self.tick(now);
        match self.member(id, instance, Some(generation)) {
            Ok(member) => member.until = now + member.session,
            Err(code) => return code,
        }
        match self.state {
            State::Preparing(_) => codes::REBALANCE_IN_PROGRESS,
            _ => codes::NONE,
        }
    }

    pub(super) fn leave(&mut self, now: Instant, id: &str, instance: Option<&str>) -> i16 {
        self.tick(now);
        let of_instance = instance.and_then(|instance| self.of(instance));
        let id = match (id, of_instance) {
            // Who manages a group names an instance alone.
            ("", Some(of)) => of,
            (id, Some(of)) if id != of => return codes::FENCED_INSTANCE_ID,
            (id, _) => id.to_owned(),
        };
        let was_pending = self.pending.remove(&id).is_some();
        match self.members.remove(&id) {
            Some(member) => {
                tell(member.joining, Err(codes::UNKNOWN_MEMBER_ID));
                tell(member.syncing, Err(codes::UNKNOWN_MEMBER_ID));
                self.lost(now);
            }
            None if was_pending => {}
            None => return codes::UNKNOWN_MEMBER_ID,
        }
        self.complete(now);
        codes::NONE
    }

    /// Whether offsets may be committed: by a member of this generation, or by anyone while there is none.
    pub(super) fn may_commit(
        &mut self,
        now: Instant,
        (id, instance, generation): (&str, Option<&str>, i32),
    ) -> i16 {
        self.tick(now);
        if generation < 0 && self.members.is_empty() {
            return codes::NONE;
        }
        match self.member(id, instance, Some(generation)) {
            Ok(member) => member.until = now + member.session,
            Err(code) => return code,
        }
        match self.state {
            State::Completing(_) => codes::REBALANCE_IN_PROGRESS,
            _ => codes::NONE,
        }
    }
}

impl Member {
    fn has(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }
}

#[cfg(test)]
mod tests;
