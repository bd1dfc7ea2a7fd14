//! Shell patterns with `{a,b}` groups, for include and exclude lists and for names.

use globset::{GlobBuilder, GlobMatcher};
use thiserror::Error;

/// A longer pattern is a mistake; protects the compiled size.
pub const PATTERN_BYTES_MAX: usize = 4096;

/// A pattern that cannot be read.
#[derive(Clone, Debug, Error)]
#[error("invalid pattern `{pattern}`: {reason}")]
pub struct GlobError {
    /// The pattern that was given.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A compiled pattern: `*`, `?`, `[a-z]`, `[!a]`, `{a,b}`, and `\` to escape.
#[derive(Clone, Debug)]
pub struct Glob(GlobMatcher);

impl Glob {
    /// A pattern whose `*` crosses `/`, as the include and exclude patterns of a directory source and all patterns on
    /// names (kinds, servers, projects) have it.
    pub fn parse(pattern: &str) -> Result<Self, GlobError> {
        Self::build(pattern, false)
    }

    /// A pattern whose `*` stops at `/` and whose `**` does not, as for repository addresses and value files.
    pub fn parse_path(pattern: &str) -> Result<Self, GlobError> {
        Self::build(pattern, true)
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    fn build(pattern: &str, separator: bool) -> Result<Self, GlobError> {
        let fail = |reason: String| GlobError {
            pattern: pattern.chars().take(80).collect(),
            reason,
        };
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(fail(format!("it is longer than {PATTERN_BYTES_MAX} bytes")));
        }
        GlobBuilder::new(pattern)
            .literal_separator(separator)
            .backslash_escape(true)
            .empty_alternates(true)
            .build()
            .map(|glob| Self(glob.compile_matcher()))
            .map_err(|error| fail(error.kind().to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_documented() {
        for (pattern, text, plain, path) in [
            ("*.yaml", "a.yaml", true, true),
            ("*.yaml", "sub/a.yaml", true, false),
            ("**/*.yaml", "a/b/c.yaml", true, true),
            ("{*.yml,*.yaml}", "x.yml", true, true),
            ("{config.json,env-usw2/*}", "env-usw2/x.yaml", true, true),
            ("{a,{b,c}d}.yaml", "cd.yaml", true, true),
            ("a?c", "abc", true, true),
            ("[!a]bc", "abc", false, false),
            ("a", "ab", false, false),
            ("\\*", "*", true, true),
            ("x{,-test}", "x", true, true),
        ] {
            assert_eq!(Glob::parse(pattern).unwrap().matches(text), plain, "{pattern} {text}");
            assert_eq!(
                Glob::parse_path(pattern).unwrap().matches(text),
                path,
                "{pattern} {text} as a path"
            );
        }
    }

    #[test]
    fn a_broken_pattern_is_named() {
        let error = Glob::parse("{a,b").unwrap_err().to_string();
        assert!(error.starts_with("invalid pattern `{a,b`: "), "{error}");
        assert!(Glob::parse(&"a".repeat(PATTERN_BYTES_MAX + 1)).is_err());
    }
}
