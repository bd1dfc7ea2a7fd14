//! How a version behaves: by its image's tag, as in the test cluster (`tests/cluster/src/workload.rs`), and by what is
//! made to happen to it.

use std::time::Duration;

/// How the pods of a version behave.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Behaviour {
    /// Time a pod takes to become ready after its container started.
    pub ready_after: Duration,
    /// Its pods never become ready, and those that are no longer are.
    pub crashes: bool,
    /// Share of requests it fails, from 0 to 1.
    pub errors: f64,
    /// Time it takes longer to answer.
    pub slow: Duration,
    /// Its Jobs end with this code.
    pub exit_code: u8,
}

impl Behaviour {
    /// As the options behind the tag's version say: `shop:v2-errors30-slow500`, `-crash`, `-ready5`, `-exit3`. What is no
    /// option belongs to the version.
    pub fn of_image(image: &str) -> Self {
        let mut behaviour = Self::default();
        let name = image.rsplit('/').next().unwrap_or_default();
        let tag = name.split_once(':').map_or("", |(_, tag)| tag);
        for option in tag.split('-') {
            behaviour.read(option);
        }
        behaviour
    }

    fn read(&mut self, option: &str) {
        let number = |word: &str| option.strip_prefix(word)?.parse::<u32>().ok();
        if option == "crash" {
            self.crashes = true;
        } else if let Some(percent) = number("errors").filter(|percent| *percent <= 100) {
            self.errors = f64::from(percent) / 100.0;
        } else if let Some(millis) = number("slow") {
            self.slow = Duration::from_millis(millis.into());
        } else if let Some(seconds) = number("ready") {
            self.ready_after = Duration::from_secs(seconds.into());
        } else if let Some(code) = number("exit").and_then(|code| u8::try_from(code).ok()) {
            self.exit_code = code;
        }
    }

    /// Both at once: the worse of each.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            ready_after: self.ready_after.max(other.ready_after),
            crashes: self.crashes || other.crashes,
            errors: self.errors.max(other.errors),
            slow: self.slow.max(other.slow),
            exit_code: self.exit_code.max(other.exit_code),
        }
    }

    /// Whether anything is wrong with it.
    pub fn is_bad(&self) -> bool {
        self.crashes || self.errors > 0.0 || !self.slow.is_zero() || self.exit_code != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_behind_the_version() {
        let none = Behaviour::default();
        for (image, expect) in [
            ("demo:v2", none),
            ("demo", none),
            ("registry:5000/team-errors50/demo:v2", none),
            ("demo:v2-errors30", Behaviour { errors: 0.3, ..none }),
            ("demo:v2-errors300", none),
            ("demo:crash", Behaviour { crashes: true, ..none }),
            (
                "host:5000/demo:v3-slow500-ready5-exit3",
                Behaviour {
                    slow: Duration::from_millis(500),
                    ready_after: Duration::from_secs(5),
                    exit_code: 3,
                    ..none
                },
            ),
        ] {
            assert_eq!(Behaviour::of_image(image), expect, "{image}");
        }
    }

    #[test]
    fn the_worse_of_two_wins() {
        let both = Behaviour::of_image("a:errors30").and(Behaviour::of_image("a:errors10-crash"));
        assert!(both.crashes && both.is_bad());
        assert_eq!(both.errors, 0.3);
        assert!(!Behaviour::of_image("a:v1-ready9").is_bad());
    }
}
