//! "Did you mean": the nearest of some names. Pure.

/// The name nearest to `wanted`, if it is near enough to have been meant.
pub(crate) fn closest<'n>(wanted: &str, names: &'n [String]) -> Option<&'n str> {
    let most = (wanted.chars().count() / 3).max(2);
    let scored = names.iter().map(|name| {
        let contained = wanted.len() >= 3 && (name.contains(wanted) || wanted.contains(name.as_str()));
        (if contained { 1 } else { distance(wanted, name) }, name.as_str())
    });
    scored
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, name)| name)
}

/// Edits between two texts: insertions, deletions, replacements.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (row, left) in left.chars().enumerate() {
        let mut current = vec![row + 1];
        for (column, right) in right.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX - 1);
            let replaced = at(&previous, column) + usize::from(left != *right);
            let edited = at(&previous, column + 1).min(at(&current, column)) + 1;
            current.push(replaced.min(edited));
        }
        previous = current;
    }
    previous.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_not() {
        let names = ["web", "checkout", "payments-api"].map(str::to_owned);
        assert_eq!(closest("chekout", &names), Some("checkout"));
        assert_eq!(closest("wbe", &names), Some("web"));
        assert_eq!(closest("payments", &names), Some("payments-api"));
        assert_eq!(closest("inventory", &names), None);
        assert_eq!(closest("x", &[]), None);
    }
}
