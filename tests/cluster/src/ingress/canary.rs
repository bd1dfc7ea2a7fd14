//! Reads the canary annotations of an Ingress, with the meaning ingress-nginx published.

use std::collections::BTreeMap;

use regex::Regex;

/// Prefix of the annotations.
const PREFIX: &str = "nginx.ingress.kubernetes.io";

/// Total of the weights unless said otherwise; a smaller one is raised to it.
const WEIGHT_TOTAL_DEFAULT: u64 = 100;

/// Which requests a canary gets. Asked in this order: header, cookie, weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CanaryRule {
    pub(super) header: Option<HeaderRule>,
    /// Cookie that says `always` or `never`.
    pub(super) cookie: Option<String>,
    /// Share of the remaining requests, in hundredths of a percent.
    pub(super) weight: u64,
}

/// What a header must be for the canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeaderRule {
    pub(super) name: String,
    pub(super) value: HeaderMatch,
}

/// How a header's value is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HeaderMatch {
    /// `always` goes to the canary, `never` stays, anything else falls through.
    AlwaysNever,
    /// This value goes to the canary, any other falls through.
    Exact(String),
    /// A match goes to the canary, anything else falls through.
    Pattern(String),
}

/// Whether the annotations make their Ingress a canary.
pub(super) fn is_canary(annotations: &BTreeMap<String, String>) -> bool {
    value(annotations, "canary") == Some("true")
}

/// The rule in the annotations of a canary Ingress. What cannot be read (an invalid pattern, a weight that is no number)
/// is left out, as if it was not there: one wrong Ingress must not stop the others.
pub(super) fn rule(annotations: &BTreeMap<String, String>) -> CanaryRule {
    let number = |name: &str| value(annotations, name).and_then(|text| text.trim().parse::<u64>().ok());
    let total = number("canary-weight-total")
        .unwrap_or(WEIGHT_TOTAL_DEFAULT)
        .max(WEIGHT_TOTAL_DEFAULT);
    let weight = number("canary-weight").unwrap_or(0).min(total);
    let cookie = value(annotations, "canary-by-cookie").filter(|name| is_token(name));
    CanaryRule {
        header: header(annotations),
        cookie: cookie.map(ToOwned::to_owned),
        weight: weight.saturating_mul(10_000) / total,
    }
}

fn header(annotations: &BTreeMap<String, String>) -> Option<HeaderRule> {
    let name = value(annotations, "canary-by-header").filter(|name| is_token(name))?;
    let exact = value(annotations, "canary-by-header-value").filter(|text| !text.is_empty());
    let pattern = value(annotations, "canary-by-header-pattern").filter(|text| !text.is_empty());
    let value = match (exact, pattern) {
        (Some(exact), _) => HeaderMatch::Exact(exact.to_owned()),
        (None, Some(pattern)) => HeaderMatch::Pattern(pattern.to_owned()),
        (None, None) => HeaderMatch::AlwaysNever,
    };
    let readable = match &value {
        HeaderMatch::AlwaysNever => true,
        HeaderMatch::Exact(text) => is_printable(text),
        HeaderMatch::Pattern(text) => is_printable(text) && Regex::new(text).is_ok(),
    };
    readable.then(|| HeaderRule {
        name: name.to_owned(),
        value,
    })
}

fn value<'a>(annotations: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    annotations.get(&format!("{PREFIX}/{name}")).map(String::as_str)
}

/// Whether a text can name a header or cookie here.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || "-_.".contains(character))
}

fn is_printable(text: &str) -> bool {
    text.chars()
        .all(|character| character == ' ' || character.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule_of(pairs: &[(&str, &str)]) -> CanaryRule {
        rule(
            &pairs
                .iter()
                .map(|(name, value)| (format!("{PREFIX}/{name}"), (*value).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn weights_are_shares_of_their_total() {
        for (weight, total, expect) in [
            ("30", None, 3_000),
            ("0", None, 0),
            ("100", None, 10_000),
            ("250", None, 10_000),
            ("30", Some("1000"), 300),
            ("30", Some("50"), 3_000),
            ("1", Some("10000"), 1),
            ("x", None, 0),
        ] {
            let mut pairs = vec![("canary", "true"), ("canary-weight", weight)];
            pairs.extend(total.map(|total| ("canary-weight-total", total)));
            assert_eq!(rule_of(&pairs).weight, expect, "{pairs:?}");
        }
    }

    #[test]
    fn header_value_wins_over_pattern() {
        let header = |pairs: &[(&str, &str)]| rule_of(pairs).header.map(|header| header.value);
        assert_eq!(
            header(&[("canary-by-header", "X-Canary")]),
            Some(HeaderMatch::AlwaysNever)
        );
        assert_eq!(
            header(&[
                ("canary-by-header", "X-Canary"),
                ("canary-by-header-value", "yes"),
                ("canary-by-header-pattern", "y.*")
            ]),
            Some(HeaderMatch::Exact("yes".to_owned()))
        );
        assert_eq!(
            header(&[("canary-by-header", "X-Canary"), ("canary-by-header-pattern", "y.*")]),
            Some(HeaderMatch::Pattern("y.*".to_owned()))
        );
        assert_eq!(
            header(&[("canary-by-header-value", "yes")]),
            None,
            "without a header to look at"
        );
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        assert_eq!(
            rule_of(&[("canary-by-header", "X-Canary"), ("canary-by-header-pattern", "(")]).header,
            None
        );
        assert_eq!(rule_of(&[("canary-by-header", "X;}")]).header, None);
        assert_eq!(rule_of(&[("canary-by-cookie", "a b")]).cookie, None);
        assert_eq!(
            rule_of(&[("canary-by-cookie", "my-cookie")]).cookie.as_deref(),
            Some("my-cookie")
        );
    }
}
