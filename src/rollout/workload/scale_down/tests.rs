use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Five pods wanted, one of which may be missing, at second 1000.
fn facts(available: i32) -> Facts {
    Facts {
        replicas: 5,
        floor: 4,
        available,
        is_first: true,
        settled_at: None,
        cuts_over: false,
        now: at(1000),
    }
}

fn record(replicas: i32, set: i32) -> Option<Record> {
    Some(Record {
        rollout: "web".to_owned(),
        replicas,
        set,
        at: Some(at(900)),
    })
}

/// A Deployment of `replicas`, `available` of them available.
fn size(replicas: i32, available: i32, record: Option<Record>) -> Size {
    Size {
        replicas,
        available,
        is_current: true,
        record,
    }
}

#[test]
fn the_deployment_keeps_what_the_rollout_lacks() {
    for (available, kept) in [(1, 4), (2, 3), (4, 1), (5, 0)] {
        assert_eq!(
            decide(Mode::Progressively, &facts(available), &size(5, 5, None)),
            Move::To(kept)
        );
    }
    assert_eq!(decide(Mode::Progressively, &facts(0), &size(5, 5, None)), Move::Hold);
    // It was larger: it shrinks in proportion, not to what the Rollout wants.
    assert_eq!(
        decide(Mode::Progressively, &facts(1), &size(50, 50, None)),
        Move::To(40)
    );
    assert_eq!(
        decide(Mode::Progressively, &facts(2), &size(40, 40, record(50, 40))),
        Move::To(30)
    );
    // It was smaller: it keeps its pods as long as they are lacking.
    assert_eq!(decide(Mode::Progressively, &facts(1), &size(3, 3, None)), Move::Hold);
    assert_eq!(decide(Mode::Progressively, &facts(3), &size(3, 3, None)), Move::To(2));
}

/// T6, for both together.
#[test]
fn pods_that_are_not_available_are_made_up_for() {
    // 2 of 5 are available, 3 + 2 would be above the floor only if the two that go were not among them.
    assert_eq!(decide(Mode::Progressively, &facts(2), &size(5, 2, None)), Move::Hold);
    assert_eq!(decide(Mode::Progressively, &facts(2), &size(5, 3, None)), Move::To(4));
    assert_eq!(decide(Mode::Progressively, &facts(3), &size(5, 1, None)), Move::Hold);
    // Above the floor without it: what it has does not matter.
    assert_eq!(decide(Mode::Progressively, &facts(4), &size(5, 0, None)), Move::To(1));
    assert_eq!(decide(Mode::Progressively, &facts(5), &size(5, 0, None)), Move::To(0));
}

#[test]
fn a_status_that_is_not_about_the_present_size_is_waited_for() {
    let size = Size {
        is_current: false,
        ..size(5, 5, None)
    };
    assert_eq!(decide(Mode::Progressively, &facts(3), &size), Move::Hold);
}

#[test]
fn a_first_deployment_that_fails_gives_the_pods_back_and_a_later_loss_does_not() {
    let size = size(2, 2, record(5, 2));
    assert_eq!(decide(Mode::Progressively, &facts(0), &size), Move::To(5));
    let later = Facts {
        is_first: false,
        ..facts(0)
    };
    assert_eq!(decide(Mode::Progressively, &later, &size), Move::Hold);
}

#[test]
fn the_last_pods_wait_until_requests_have_left_them() {
    let mut facts = Facts {
        cuts_over: true,
        ..facts(5)
    };
    assert_eq!(
        decide(Mode::Progressively, &facts, &size(2, 2, record(5, 2))),
        Move::Hold
    );
    facts.settled_at = Some(at(1005));
    for mode in [Mode::Progressively, Mode::OnSuccess] {
        assert_eq!(
            decide(mode, &facts, &size(2, 2, record(5, 2))),
            Move::HoldUntil(at(1005))
        );
    }
    facts.now = at(1005);
    for mode in [Mode::Progressively, Mode::OnSuccess] {
        assert_eq!(decide(mode, &facts, &size(2, 2, record(5, 2))), Move::To(0));
    }
}

#[test]
fn on_success_takes_nothing_before_success() {
    for available in 0..=5 {
        assert_eq!(
            decide(Mode::OnSuccess, &facts(available), &size(5, 5, None)),
            Move::Hold
        );
    }
}

/// argo-rollouts#4935, #4681.
#[test]
fn what_somebody_scales_up_again_is_scaled_down_again_but_not_at_once() {
    let mut facts = Facts {
        is_first: false,
        settled_at: Some(at(100)),
        ..facts(5)
    };
    for mode in [Mode::Progressively, Mode::OnSuccess] {
        assert_eq!(decide(mode, &facts, &size(5, 5, record(5, 0))), Move::To(0));
    }
    facts.now = at(930);
    for mode in [Mode::Progressively, Mode::OnSuccess] {
        assert_eq!(
            decide(mode, &facts, &size(5, 5, record(5, 0))),
            Move::HoldUntil(at(960))
        );
    }
}

/// argo-rollouts#4110: what an autoscaler gave the Rollout is what the Deployment gets.
#[test]
fn a_rollout_that_grew_is_remembered() {
    let grown = Facts {
        replicas: 8,
        floor: 8,
        is_first: false,
        ..facts(8)
    };
    assert_eq!(
        decide(Mode::OnSuccess, &grown, &size(0, 0, record(5, 0))),
        Move::Remember
    );
    assert_eq!(decide(Mode::OnSuccess, &grown, &size(0, 0, record(8, 0))), Move::Hold);
}

#[test]
fn a_rollout_of_no_pods_takes_nobodys_place() {
    let none = Facts {
        replicas: 0,
        floor: 0,
        available: 0,
        settled_at: Some(at(1)),
        ..facts(0)
    };
    for mode in [Mode::Progressively, Mode::OnSuccess] {
        assert_eq!(decide(mode, &none, &size(5, 5, None)), Move::Hold);
    }
}

#[test]
fn never_gives_back_what_was_taken_and_else_does_nothing() {
    assert_eq!(
        decide(Mode::Never, &facts(5), &size(0, 0, record(5, 0))),
        Move::GiveBack
    );
    assert_eq!(decide(Mode::Never, &facts(5), &size(5, 5, None)), Move::Hold);
}

proptest::proptest! {
    /// T6 for the sum, from any state: a size that is decided takes the two together below the floor in no case, whichever
    /// of the Deployment's pods go.
    #[test]
    fn both_together_stay_above_the_floor(
        replicas in 1..12i32, unavailable in 0..4i32, available in 0..12i32, had in 0..20i32, ready in 0..20i32,
    ) {
        let facts = Facts { replicas, floor: replicas - unavailable, available: available.min(replicas), ..facts(0) };
        let size = size(had, ready.min(had), None);
        if let Move::To(goal) = decide(Mode::Progressively, &facts, &size) {
            let left = (size.available - (size.replicas - goal)).max(0);
            let before = facts.available + size.available;
            proptest::prop_assert!(facts.available + left >= facts.floor.min(before), "{facts:?} {size:?} to {goal}");
        }
    }
}
