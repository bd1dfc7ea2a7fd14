//! The variables of the process that providers read, taken once at the start.

use std::{collections::BTreeMap, ffi::OsString, fmt};

/// What names begin with that providers read: keys of Datadog and AWS, and the home folder with AWS' files.
const PREFIXES: [&str; 3] = ["AWS_", "DD_", "HOME"];

/// Variables by name. `Debug` shows names only: some values are keys.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Environment(BTreeMap<String, String>);

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// The variables of this process; those that are no text are left out.
    pub fn of_process() -> Self {
        let texts = std::env::vars_os().filter_map(|(name, value): (OsString, OsString)| {
            let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
            PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix))
                .then_some((name, value))
        });
        Self(texts.collect())
    }

    /// The value of a variable; an empty one is as good as none.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        let owned = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self(owned.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_shown_and_empty_ones_do_not_count() {
        let environment = Environment::from([("DD_API_KEY", "hush-hush"), ("AWS_REGION", "")]);
        assert_eq!(format!("{environment:?}"), "{\"AWS_REGION\", \"DD_API_KEY\"}");
        assert_eq!(environment.get("DD_API_KEY"), Some("hush-hush"));
        assert_eq!(environment.get("AWS_REGION"), None);
    }
}
