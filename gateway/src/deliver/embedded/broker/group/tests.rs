use tokio::sync::oneshot::Receiver;

use super::*;

const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(30);

fn joining(member: &str, fresh: &str) -> Joining {
    Joining {
        member: member.to_owned(),
        fresh: fresh.to_owned(),
        asks_twice: false,
        instance: None,
        client: "test".to_owned(),
        kind: "consumer".to_owned(),
        session: SESSION,
        rebalance: REBALANCE,
        protocols: vec![("range".to_owned(), fresh.as_bytes().to_vec())],
    }
}

struct House {
    group: Group,
    now: Instant,
}

impl House {
    fn new() -> Self {
        Self { group: Group::default(), now: Instant::now() }
    }

    fn join(&mut self, joining: Joining) -> Receiver<Result<Joined, i16>> {
        let (sender, receiver) = oneshot::channel();
        self.group.join(self.now, joining, sender);
        receiver
    }

    fn sync(&mut self, id: &str, generation: i32, all: &[&str]) -> Receiver<Result<Vec<u8>, i16>> {
        let (sender, receiver) = oneshot::channel();
        let assign = |id: &&str| ((*id).to_owned(), format!("for {id}").into_bytes());
        let assignments = all.iter().map(assign).collect();
        self.group.sync(self.now, (id, None, generation), assignments, sender);
        receiver
    }

    fn beat(&mut self, id: &str, generation: i32) -> i16 {
        self.group.heartbeat(self.now, (id, None, generation))
    }

    fn passes(&mut self, time: Duration) {
        self.now += time;
        self.group.tick(self.now);
    }

    /// Two members that share everything.
    fn of_two() -> Self {
        let mut house = Self::new();
        house.join(joining("", "a")).try_recv().unwrap().unwrap();
        house.sync("a", 1, &["a"]).try_recv().unwrap().unwrap();
        let mut b = house.join(joining("", "b"));
        house.join(joining("a", "a")).try_recv().unwrap().unwrap();
        b.try_recv().unwrap().unwrap();
        let mut b = house.sync("b", 2, &[]);
        assert!(b.try_recv().is_err(), "the leader has not decided");
        house.sync("a", 2, &["a", "b"]).try_recv().unwrap().unwrap();
        assert_eq!(b.try_recv().unwrap(), Ok(b"for b".to_vec()));
        house
    }
}

#[test]
fn a_second_member_makes_the_first_join_again() {
    let mut house = House::new();
    let first = house.join(joining("", "a")).try_recv().unwrap().unwrap();
    assert_eq!((first.generation, &*first.leader, first.members.len()), (1, "a", 1));
    assert_eq!(house.sync("a", 1, &["a"]).try_recv().unwrap(), Ok(b"for a".to_vec()));
    assert_eq!(house.beat("a", 1), codes::NONE);
    let mut b = house.join(joining("", "b"));
    assert!(b.try_recv().is_err(), "the first has not come yet");
    assert_eq!(house.beat("a", 1), codes::REBALANCE_IN_PROGRESS);
    let again = house.join(joining("a", "a")).try_recv().unwrap().unwrap();
    let b = b.try_recv().unwrap().unwrap();
    assert_eq!((again.generation, b.generation, &*b.leader), (2, 2, "a"));
    let told: Vec<_> = again.members.iter().map(|(id, _, told)| (&**id, &**told)).collect();
    assert_eq!(told, [("a", &b"a"[..]), ("b", &b"b"[..])]);
    assert!(b.members.is_empty(), "only the leader is told");
    // What is of the generation before counts no more.
    assert_eq!(house.beat("a", 1), codes::ILLEGAL_GENERATION);
    assert_eq!(house.sync("a", 1, &["a"]).try_recv().unwrap(), Err(codes::ILLEGAL_GENERATION));
    assert_eq!(house.group.may_commit(house.now, ("a", None, 1)), codes::ILLEGAL_GENERATION);
    assert_eq!(house.group.may_commit(house.now, ("a", None, 2)), codes::REBALANCE_IN_PROGRESS);
}

#[test]
fn who_is_silent_loses_its_place() {
    let mut house = House::of_two();
    house.passes(SESSION - Duration::from_secs(1));
    assert_eq!(house.beat("a", 2), codes::NONE);
    house.passes(Duration::from_secs(2));
    assert_eq!(house.beat("b", 2), codes::UNKNOWN_MEMBER_ID);
    assert_eq!(house.beat("a", 2), codes::REBALANCE_IN_PROGRESS);
    let alone = house.join(joining("a", "a")).try_recv().unwrap().unwrap();
    assert_eq!((alone.generation, alone.members.len()), (3, 1));
}

#[test]
fn who_does_not_join_again_is_not_waited_for_for_ever() {
    let mut house = House::of_two();
    let mut c = house.join(joining("", "c"));
    house.join(joining("a", "a"));
    // It beats, and does not come.
    for _ in 0..6 {
        house.passes(REBALANCE / 6 - Duration::from_millis(1));
        assert_eq!(house.beat("b", 2), codes::REBALANCE_IN_PROGRESS);
    }
    assert!(c.try_recv().is_err());
    house.passes(Duration::from_secs(1));
    assert_eq!(c.try_recv().unwrap().unwrap().generation, 3);
    assert_eq!(house.beat("b", 3), codes::UNKNOWN_MEMBER_ID);
    assert_eq!(house.group.members.len(), 2);
}

#[test]
fn a_leader_that_does_not_decide_is_not_waited_for_for_ever() {
    let mut house = House::new();
    house.join(joining("", "a")).try_recv().unwrap().unwrap();
    for _ in 0..4 {
        house.passes(REBALANCE / 4);
        let said = house.beat("a", 1);
        assert!(said == codes::NONE || said == codes::UNKNOWN_MEMBER_ID);
    }
    assert!(house.group.members.is_empty());
    assert_eq!(house.group.state, State::Empty);
}

#[test]
fn who_leaves_is_gone_at_once_and_commits_nothing() {
    let mut house = House::of_two();
    assert_eq!(house.group.leave(house.now, "b", None), codes::NONE);
    assert_eq!(house.group.leave(house.now, "b", None), codes::UNKNOWN_MEMBER_ID);
    assert_eq!(house.group.may_commit(house.now, ("b", None, 2)), codes::UNKNOWN_MEMBER_ID);
    assert_eq!(house.beat("a", 2), codes::REBALANCE_IN_PROGRESS);
    assert_eq!(house.group.may_commit(house.now, ("a", None, 2)), codes::NONE);
    assert_eq!(house.group.may_commit(house.now, ("", None, -1)), codes::UNKNOWN_MEMBER_ID);
    assert_eq!(house.group.leave(house.now, "a", None), codes::NONE);
    assert_eq!(house.group.state, State::Empty);
    // Offsets without members: of consumers that need no group.
    assert_eq!(house.group.may_commit(house.now, ("", None, -1)), codes::NONE);
}

#[test]
fn a_member_is_told_its_name_before_it_is_one() {
    let mut house = House::new();
    let asks = Joining { asks_twice: true, ..joining("", "a") };
    assert_eq!(house.join(asks.clone()).try_recv().unwrap(), Err(codes::MEMBER_ID_REQUIRED));
    assert!(house.group.members.is_empty() && !house.group.is_over());
    assert_eq!(house.join(joining("z", "z")).try_recv().unwrap(), Err(codes::UNKNOWN_MEMBER_ID));
    let named = Joining { member: "a".to_owned(), ..asks.clone() };
    assert_eq!(house.join(named).try_recv().unwrap().unwrap().member, "a");
    // One that never comes back is forgotten.
    house.join(Joining { fresh: "b".to_owned(), ..asks });
    house.passes(SESSION);
    assert!(house.group.is_over());
}

#[test]
fn members_without_a_common_protocol_do_not_meet() {
    let mut house = House::of_two();
    let other = |name: &str| vec![(name.to_owned(), vec![])];
    let refused = Err(codes::INCONSISTENT_GROUP_PROTOCOL);
    let sticky = Joining { protocols: other("sticky"), ..joining("", "c") };
    assert_eq!(house.join(sticky).try_recv().unwrap(), refused);
    let connect = Joining { kind: "connect".to_owned(), ..joining("", "c") };
    assert_eq!(house.join(connect).try_recv().unwrap(), refused);
    assert_eq!(house.beat("a", 2), codes::NONE, "and nobody is disturbed");
    // Alone, it may change its mind.
    assert_eq!(house.group.leave(house.now, "b", None), codes::NONE);
    let sticky = Joining { protocols: other("sticky"), ..joining("a", "a") };
    assert_eq!(house.join(sticky).try_recv().unwrap().unwrap().protocol, "sticky");
}

#[test]
fn an_instance_that_starts_again_has_its_place_and_fences_the_one_before() {
    let mut house = House::new();
    let instance = |member: &str, fresh: &str| Joining {
        instance: Some("i-1".to_owned()),
        ..joining(member, fresh)
    };
    house.join(instance("", "a")).try_recv().unwrap().unwrap();
    house.sync("a", 1, &["a"]).try_recv().unwrap().unwrap();
    let again = house.join(instance("", "b")).try_recv().unwrap().unwrap();
    assert_eq!((&*again.member, &*again.leader), ("b", "b"));
    assert_eq!(house.group.members.len(), 1);
    let fenced = codes::FENCED_INSTANCE_ID;
    assert_eq!(house.group.heartbeat(house.now, ("a", Some("i-1"), 2)), fenced);
    assert_eq!(house.join(instance("a", "a")).try_recv().unwrap(), Err(fenced));
    assert_eq!(house.group.may_commit(house.now, ("a", Some("i-1"), 2)), fenced);
}

#[test]
fn a_follower_that_lost_its_answer_has_it_again() {
    let mut house = House::of_two();
    let again = house.join(joining("b", "b")).try_recv().unwrap().unwrap();
    assert_eq!(again.generation, 2, "nobody is disturbed");
    assert_eq!(house.sync("b", 2, &[]).try_recv().unwrap(), Ok(b"for b".to_vec()));
    // The leader wants to share out anew.
    house.join(joining("a", "a"));
    assert_eq!(house.beat("b", 2), codes::REBALANCE_IN_PROGRESS);
}
