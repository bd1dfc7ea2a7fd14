//! Version ranges as `targetRevision` of Git tags: `1.2.*`, `^1.2`, `~1.2`, `>=1.0 <2.0`, `1.0 - 1.4`, `a || b`. Pure.
//!
//! A bare full version is no range here: it names a tag. A pre-release satisfies only ranges that name one.

use semver::{BuildMetadata, Prerelease, Version};

/// Alternatives, each a list of conditions that must all hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VersionRange(Vec<Conditions>);

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Conditions {
    list: Vec<Condition>,
    prereleases: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Condition {
    AtLeast(Version),
    Above(Version),
    AtMost(Version),
    Below(Version),
    Not(Version, Version),
}

/// A version as tags spell it: a leading `v` and missing parts (`v1.2`) are allowed.
pub fn parse_version(text: &str) -> Option<Version> {
    let partial = Partial::parse(text)?;
    (!partial.wild).then(|| partial.lower())
}

impl VersionRange {
    /// Reads a range; `None` when the text is something else, such as a branch or an exact version.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let has_operator = text.contains(['<', '>', '=', '^', '~', '*', ' ', '|', ',']);
        // `x` alone is rather a misspelled branch than a wish for any version.
        let is_wild = || Partial::parse(text).is_some_and(|partial| partial.wild && !partial.numbers.is_empty());
        if text.is_empty() || !(has_operator || is_wild()) {
            return None;
        }
        text.split("||").map(alternative).collect::<Option<Vec<_>>>().map(Self)
    }

    /// Whether the version satisfies the range.
    pub fn contains(&self, version: &Version) -> bool {
        self.0.iter().any(|conditions| {
            (version.pre.is_empty() || conditions.prereleases) && conditions.list.iter().all(|one| one.holds(version))
        })
    }
}

impl Condition {
    fn holds(&self, version: &Version) -> bool {
        match self {
            Self::AtLeast(bound) => version >= bound,
            Self::Above(bound) => version > bound,
            Self::AtMost(bound) => version <= bound,
            Self::Below(bound) => version < bound,
            Self::Not(from, until) => version < from || version >= until,
        }
    }
}

/// `1`, `1.2`, `1.x`, `v1.2.3-rc.1`; missing and wild parts are open.
struct Partial {
    numbers: Vec<u64>,
    pre: Prerelease,
    wild: bool,
}

impl Partial {
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let text = text.split('+').next()?;
        let (core, pre) = match text.split_once('-') {
            Some((core, pre)) => (core, Prerelease::new(pre).ok()?),
            None => (text, Prerelease::EMPTY),
        };
        let mut partial = Self {
            numbers: Vec::new(),
            pre,
            wild: false,
        };
        let parts: Vec<&str> = core.split('.').collect();
        if parts.len() > 3 {
            return None;
        }
        for part in parts {
            match part {
                "x" | "X" | "*" => partial.wild = true,
                _ if partial.wild => return None,
                number => partial.numbers.push(number.parse().ok()?),
            }
        }
        Some(partial)
    }

    fn number(&self, index: usize) -> u64 {
        self.numbers.get(index).copied().unwrap_or(0)
    }

    fn lower(&self) -> Version {
        Version {
            major: self.number(0),
            minor: self.number(1),
            patch: self.number(2),
            pre: self.pre.clone(),
            build: BuildMetadata::EMPTY,
        }
    }

    /// The first version that no longer agrees in the first `kept` numbers.
    fn after(&self, kept: usize) -> Option<Version> {
        let next = match kept {
            0 => return None,
            1 => Version::new(self.number(0).checked_add(1)?, 0, 0),
            2 => Version::new(self.number(0), self.number(1).checked_add(1)?, 0),
            _ => Version::new(self.number(0), self.number(1), self.number(2).checked_add(1)?),
        };
        Some(next)
    }
}

fn alternative(text: &str) -> Option<Conditions> {
    let mut conditions = Conditions::default();
    if let Some((from, to)) = text.split_once(" - ") {
        add(&mut conditions, ">=", from.trim())?;
        add(&mut conditions, "<=", to.trim())?;
        return Some(conditions);
    }
    let mut operator = String::new();
    for word in text.split([',', ' ']).filter(|word| !word.is_empty()) {
        let version = word.trim_start_matches(['<', '>', '=', '!', '^', '~']);
        operator.push_str(word.get(..word.len() - version.len())?);
        // An operator may stand apart from its version: `>= 1.2`.
        if !version.is_empty() {
            add(&mut conditions, &std::mem::take(&mut operator), version)?;
        }
    }
    (operator.is_empty() && !conditions.list.is_empty()).then_some(conditions)
}

fn add(conditions: &mut Conditions, operator: &str, version: &str) -> Option<()> {
    let partial = Partial::parse(version)?;
    conditions.prereleases |= !partial.pre.is_empty();
    let known = partial.numbers.len();
    let lower = partial.lower();
    let mut between = |kept: usize| {
        conditions.list.push(Condition::AtLeast(lower.clone()));
        conditions.list.extend(partial.after(kept).map(Condition::Below));
    };
    match operator {
        "" | "=" | "==" if known == 3 => between(3),
        "" | "=" | "==" => between(known),
        "~" | "~>" => between(known.min(2)),
        // The first number that is not zero may not change.
        "^" => between(
            (0..known)
                .find(|index| partial.number(*index) > 0)
                .map_or(known, |index| index + 1),
        ),
        ">=" | "=>" => conditions.list.push(Condition::AtLeast(lower)),
        "<" => conditions.list.push(Condition::Below(lower)),
        ">" if known == 3 => conditions.list.push(Condition::Above(lower)),
        ">" => conditions.list.push(Condition::AtLeast(partial.after(known)?)),
        "<=" | "=<" if known == 3 => conditions.list.push(Condition::AtMost(lower)),
        "<=" | "=<" => conditions.list.push(Condition::Below(partial.after(known)?)),
        "!=" => conditions.list.push(Condition::Not(lower, partial.after(known)?)),
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAGS: [&str; 9] = [
        "v0.2.3",
        "v0.2.9",
        "v1.0.0",
        "1.2.0",
        "v1.2.7",
        "v1.10.0",
        "v2.0.0-rc.1",
        "v2.0.0",
        "v2.1",
    ];

    /// The newest tag in the range, `-` when there is none, `no range` when the text is none.
    #[track_caller]
    fn check(range: &str, expect: &str) {
        let newest = match VersionRange::parse(range) {
            None => "no range",
            Some(range) => TAGS
                .into_iter()
                .filter(|tag| parse_version(tag).is_some_and(|version| range.contains(&version)))
                .max_by_key(|tag| parse_version(tag))
                .unwrap_or("-"),
        };
        assert_eq!(newest, expect, "{range}");
    }

    #[test]
    fn ranges_choose_the_newest_tag() {
        for (range, expect) in [
            ("*", "v2.1"),
            ("1.x", "v1.10.0"),
            ("v1.*", "v1.10.0"),
            ("1.2.*", "v1.2.7"),
            ("1.2.x", "v1.2.7"),
            ("^1.0", "v1.10.0"),
            ("^0.2.4", "v0.2.9"),
            ("~1.2", "v1.2.7"),
            ("~1.2.0", "v1.2.7"),
            ("~1", "v1.10.0"),
            (">=1.0.0 <1.3.0", "v1.2.7"),
            (">= 1.0.0, < 2.0.0", "v1.10.0"),
            ("1.0 - 1.2", "v1.2.7"),
            ("1.0.0 - 1.2.0", "1.2.0"),
            (">2.0", "v2.1"),
            (">2.0.0", "v2.1"),
            ("<=1.2", "v1.2.7"),
            ("=1.2.7", "v1.2.7"),
            ("<1.0.0", "v0.2.9"),
            ("!=2.1, >=1", "v2.0.0"),
            ("0.2.* || 1.2.*", "v1.2.7"),
            (">=2.0.0-0 <2.0.0", "v2.0.0-rc.1"),
            (">=3", "-"),
            ("1.2.7", "no range"),
            ("v2.0", "no range"),
            ("main", "no range"),
            ("release-1.x", "no range"),
            ("x", "no range"),
            (">=", "no range"),
            ("^^1.2", "no range"),
            ("feature branch", "no range"),
            ("", "no range"),
        ] {
            check(range, expect);
        }
    }
}
