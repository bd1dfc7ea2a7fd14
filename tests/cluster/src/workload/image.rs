//! Decides from an image name how a container behaves.
//!
//! Only images whose last path component is `demo` take options; every other image answers its tag, so that manifests
//! written for real software can be applied unchanged.

use std::time::Duration;

/// The image name whose tag carries options.
const DEMO_IMAGE: &str = "demo";

/// Longest delay (`-slowN`, `-readyN`) that is honoured: a mistyped number must not hold a test for hours.
const DELAY_MAX: Duration = Duration::from_secs(600);

/// How a container behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Behaviour {
    /// What it answers: the tag without its options.
    pub(super) version: String,
    /// Share of requests answered with 500, in percent (`-errorsN`).
    pub(super) errors_percent: u64,
    /// Added to every answer (`-slowN`, in milliseconds).
    pub(super) slow: Duration,
    /// Never becomes ready and is restarted for ever (`-crash`).
    pub(super) crash: bool,
    /// Time from start to ready (`-readyN`, in seconds).
    pub(super) ready_after: Duration,
    /// Exit code of a Job container without a command (`-exitN`).
    pub(super) exit_code: i32,
}

impl Behaviour {
    /// Reads `repository/name:tag@digest`.
    pub(super) fn of_image(image: &str) -> Self {
        let image = image.split_once('@').map_or(image, |(name, _digest)| name);
        let name = image.rsplit_once('/').map_or(image, |(_registry, name)| name);
        let (name, tag) = name.split_once(':').unwrap_or((name, "latest"));
        let mut behaviour = Self::default();
        let mut version = tag;
        while name == DEMO_IMAGE
            && let Some((rest, option)) = version.rsplit_once('-')
            && behaviour.take_option(option)
        {
            version = rest;
        }
        version.clone_into(&mut behaviour.version);
        behaviour
    }

    /// Takes one option; `false` when the word is none and so belongs to the version.
    fn take_option(&mut self, option: &str) -> bool {
        if option == "crash" {
            self.crash = true;
            return true;
        }
        let digits = option
            .find(|character: char| character.is_ascii_digit())
            .unwrap_or(option.len());
        let (word, number) = option.split_at(digits);
        let Ok(number) = number.parse::<u64>() else {
            return false;
        };
        match word {
            "errors" if number <= 100 => self.errors_percent = number,
            "slow" => self.slow = Duration::from_millis(number).min(DELAY_MAX),
            "ready" => self.ready_after = Duration::from_secs(number).min(DELAY_MAX),
            "exit" if number <= 255 => self.exit_code = i32::try_from(number).unwrap_or(1),
            _ => return false,
        }
        true
    }

    /// Whether the request with this running number fails: spread evenly, never in bursts, so that any hundred
    /// consecutive requests hold exactly the wanted share.
    pub(super) fn fails(&self, request: u64) -> bool {
        let failures_before = request.wrapping_mul(self.errors_percent) / 100;
        let failures_after = request.wrapping_add(1).wrapping_mul(self.errors_percent) / 100;
        failures_after > failures_before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(image: &str, expect: Behaviour) {
        assert_eq!(Behaviour::of_image(image), expect, "{image}");
    }

    fn version(version: &str) -> Behaviour {
        Behaviour {
            version: version.to_owned(),
            ..Behaviour::default()
        }
    }

    #[test]
    fn reads_versions_and_options() {
        check("demo:v2", version("v2"));
        check("demo", version("latest"));
        check("localhost:5000/team/demo:v2@sha256:abc", version("v2"));
        check(
            "demo:v3-errors30",
            Behaviour {
                errors_percent: 30,
                ..version("v3")
            },
        );
        check(
            "demo:v3-errors30-slow500",
            Behaviour {
                errors_percent: 30,
                slow: Duration::from_millis(500),
                ..version("v3")
            },
        );
        check(
            "demo:v4-crash",
            Behaviour {
                crash: true,
                ..version("v4")
            },
        );
        check(
            "demo:v5-ready5",
            Behaviour {
                ready_after: Duration::from_secs(5),
                ..version("v5")
            },
        );
        check(
            "demo:v1-rc1-exit3",
            Behaviour {
                exit_code: 3,
                ..version("v1-rc1")
            },
        );
    }

    #[test]
    fn leaves_what_is_no_option_in_the_version() {
        check("demo:v1-rc1", version("v1-rc1"));
        check("demo:v1-errors", version("v1-errors"));
        check("demo:v1-errors101", version("v1-errors101"));
        check("demo:crash", version("crash"));
        check("api-server:v1-errors30", version("v1-errors30"));
        check("myapp:stable", version("stable"));
    }

    #[test]
    fn spreads_errors_evenly() {
        for (percent, window, low, high) in [
            (30, 10, 3, 3),
            (1, 100, 1, 1),
            (0, 100, 0, 0),
            (100, 7, 7, 7),
            (50, 3, 1, 2),
        ] {
            let behaviour = Behaviour {
                errors_percent: percent,
                ..Behaviour::default()
            };
            for start in 0..300 {
                let failures = (start..start + window)
                    .filter(|&request| behaviour.fails(request))
                    .count();
                assert!(
                    (low..=high).contains(&failures),
                    "{percent} % from {start}: {failures} of {window}"
                );
            }
        }
    }
}
