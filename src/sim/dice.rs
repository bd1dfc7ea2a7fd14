//! The one source of chance in a simulated world.
//!
//! Every consumer forks its own stream by name, so that a new consumer, or one that draws more, shifts nobody else.

use std::time::Duration;

/// A small deterministic generator (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice {
    seed: u64,
    state: u64,
}

impl Dice {
    /// A generator; equal seeds give equal draws, on every machine.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            state: mixed(seed),
        }
    }

    /// A generator of its own for `name`; depends on the seed and the name, not on what was drawn before.
    #[must_use]
    pub fn fork(&self, name: &str) -> Self {
        let named = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
        Self::new(mixed(self.seed ^ named.rotate_left(17)))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed(self.state)
    }

    /// A number from 0 to `end` − 1; 0 when `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // The bias of the remainder is below one in a billion for the small numbers asked for here.
        self.bits().checked_rem(end).unwrap_or(0)
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A number from 0 up to, and not including, 1.
    pub fn fraction(&mut self) -> f64 {
        let high = u32::try_from(self.bits() >> 32).unwrap_or_default();
        f64::from(high) / (f64::from(u32::MAX) + 1.0)
    }

    /// One of these; `None` when there are none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let index = self.below(from.len() as u64);
        from.get(usize::try_from(index).unwrap_or_default())
    }

    /// A time within `range`, in whole milliseconds.
    pub fn within(&mut self, range: Range) -> Duration {
        let width = range.longest.saturating_sub(range.shortest);
        let steps = u64::try_from(width.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        range.shortest + Duration::from_millis(self.below(steps))
    }
}

fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// How long something takes: drawn anew each time, both ends included.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Range {
    /// At least.
    pub shortest: Duration,
    /// At most.
    pub longest: Duration,
}

impl Range {
    /// A range from its ends in milliseconds.
    pub const fn millis(shortest: u64, longest: u64) -> Self {
        Self {
            shortest: Duration::from_millis(shortest),
            longest: Duration::from_millis(longest),
        }
    }

    /// Always as long as the longest.
    #[must_use]
    pub const fn slowest(self) -> Self {
        Self {
            shortest: self.longest,
            longest: self.longest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_the_same_everywhere() {
        let mut dice = Dice::new(7);
        let drawn: Vec<u64> = (0..4).map(|_| dice.below(1000)).collect();
        let again: Vec<u64> = {
            let mut dice = Dice::new(7);
            (0..4).map(|_| dice.below(1000)).collect()
        };
        assert_eq!(drawn, again);
        assert_ne!(Dice::new(7).bits(), Dice::new(8).bits());
    }

    #[test]
    fn a_fork_does_not_depend_on_earlier_draws() {
        let mut dice = Dice::new(7);
        let early = dice.fork("pods").bits();
        dice.bits();
        assert_eq!(dice.fork("pods").bits(), early);
        assert_ne!(dice.fork("metrics").bits(), early);
    }

    #[test]
    fn ranges_include_both_ends() {
        let mut dice = Dice::new(1);
        let range = Range::millis(1, 3);
        let drawn: std::collections::BTreeSet<u128> = (0..100).map(|_| dice.within(range).as_millis()).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(dice.within(range.slowest()), Duration::from_millis(3));
        assert_eq!(dice.within(Range::default()), Duration::ZERO);
        assert_eq!(dice.below(0), 0);
    }

    #[test]
    fn chances_are_about_right() {
        let mut dice = Dice::new(3);
        let hits = (0..10_000).filter(|_| dice.chance(30)).count();
        assert!((2800..3200).contains(&hits), "{hits}");
        assert!((0..1000).all(|_| (0.0..1.0).contains(&dice.fraction())));
    }
}
