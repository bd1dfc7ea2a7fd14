//! Sync options: the exact strings of reference, applications 2.5, of the application and of single objects.

use super::resource::annotation;
use crate::api::well_known::SYNC_OPTIONS;
use serde_json::Value;

/// Options of an application.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AppOptions {
    /// Create the destination namespace when it is missing.
    pub create_namespace: bool,
    /// Write only what differs.
    pub apply_out_of_sync_only: bool,
    /// Prune after everything else.
    pub prune_last: bool,
    /// Never prune.
    pub prune_never: bool,
    /// Prune only once approved.
    pub prune_confirm: bool,
    /// Never delete with the application.
    pub delete_never: bool,
    /// Delete with the application only once approved.
    pub delete_confirm: bool,
    /// Deletion propagation; absent means foreground.
    pub propagation: Option<crate::plan::Propagation>,
    /// Let the server refuse unknown fields.
    pub validate: Option<bool>,
    /// Replace whole objects instead of applying.
    pub replace: bool,
    /// Take over fields of `kubectl apply`; absent means yes.
    pub migrate_client_side_apply: Option<bool>,
    /// A shared object fails the operation.
    pub fail_on_shared_resource: bool,
    /// Leave ignored fields as they are in the cluster.
    pub respect_ignore_differences: bool,
    /// Do not complain before the sync about kinds the cluster does not know.
    pub skip_dry_run_on_missing_resource: bool,
    /// Strings that mean nothing here, each with the one that was probably meant (guarantee C6).
    pub unknown: Vec<(String, Option<&'static str>)>,
}

/// Options of an object; absent ones are the application's.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ObjectOptions {
    /// Never prune it.
    pub prune_never: bool,
    /// Prune it only once approved.
    pub prune_confirm: bool,
    /// Never delete it with the application.
    pub delete_never: bool,
    /// Delete it with the application only once approved.
    pub delete_confirm: bool,
    /// Prune it after everything else.
    pub prune_last: bool,
    /// Let the server refuse unknown fields.
    pub validate: bool,
    /// Replace it instead of applying.
    pub replace: bool,
    /// Delete and create it again when it cannot be changed.
    pub force: bool,
    /// Take over fields of `kubectl apply`.
    pub migrate_client_side_apply: bool,
    /// Do not complain before the sync when the cluster does not know its kind.
    pub skip_dry_run_on_missing_resource: bool,
}

const KNOWN: &[&str] = &[
    "Prune=true",
    "Prune=false",
    "Prune=confirm",
    "Delete=true",
    "Delete=false",
    "Delete=confirm",
    "PruneLast=true",
    "PruneLast=false",
    "PrunePropagationPolicy=foreground",
    "PrunePropagationPolicy=background",
    "PrunePropagationPolicy=orphan",
    "Validate=true",
    "Validate=false",
    "SkipDryRunOnMissingResource=true",
    "SkipDryRunOnMissingResource=false",
    "Replace=true",
    "Replace=false",
    "Force=true",
    "Force=false",
    "ServerSideApply=true",
    "ServerSideApply=false",
    "ClientSideApplyMigration=true",
    "ClientSideApplyMigration=false",
    "ApplyOutOfSyncOnly=true",
    "ApplyOutOfSyncOnly=false",
    "CreateNamespace=true",
    "CreateNamespace=false",
    "FailOnSharedResource=true",
    "FailOnSharedResource=false",
    "RespectIgnoreDifferences=true",
    "RespectIgnoreDifferences=false",
];

impl AppOptions {
    /// Reads `spec.syncPolicy.syncOptions` or `operation.sync.syncOptions`; a later entry wins.
    pub fn parse(options: &[String]) -> Self {
        use crate::plan::Propagation;
        let mut read = Self::default();
        for option in options {
            match option.trim() {
                "CreateNamespace=true" => read.create_namespace = true,
                "CreateNamespace=false" => read.create_namespace = false,
                "ApplyOutOfSyncOnly=true" => read.apply_out_of_sync_only = true,
                "ApplyOutOfSyncOnly=false" => read.apply_out_of_sync_only = false,
                "PruneLast=true" => read.prune_last = true,
                "PruneLast=false" => read.prune_last = false,
                "Prune=false" => read.prune_never = true,
                "Prune=confirm" => read.prune_confirm = true,
                "Delete=false" => read.delete_never = true,
                "Delete=confirm" => read.delete_confirm = true,
                "PrunePropagationPolicy=foreground" => read.propagation = Some(Propagation::Foreground),
                "PrunePropagationPolicy=background" => read.propagation = Some(Propagation::Background),
                "PrunePropagationPolicy=orphan" => read.propagation = Some(Propagation::Orphan),
                "Validate=false" => read.validate = Some(false),
                "Validate=true" => read.validate = Some(true),
                "Replace=true" => read.replace = true,
                "Replace=false" => read.replace = false,
                "ClientSideApplyMigration=true" => read.migrate_client_side_apply = Some(true),
                "ClientSideApplyMigration=false" => read.migrate_client_side_apply = Some(false),
                "FailOnSharedResource=true" => read.fail_on_shared_resource = true,
                "FailOnSharedResource=false" => read.fail_on_shared_resource = false,
                "RespectIgnoreDifferences=true" => read.respect_ignore_differences = true,
                "RespectIgnoreDifferences=false" => read.respect_ignore_differences = false,
                "SkipDryRunOnMissingResource=true" => read.skip_dry_run_on_missing_resource = true,
                "SkipDryRunOnMissingResource=false" => read.skip_dry_run_on_missing_resource = false,
                // Server-side apply is the only apply, so either value is heard and changes nothing.
                known if KNOWN.contains(&known) => {}
                unknown => read.unknown.push((unknown.to_owned(), nearest(unknown))),
            }
        }
        read
    }

    /// The options of an object: its annotation wins over the application.
    pub fn of_object(&self, object: &Value) -> ObjectOptions {
        let mut read = ObjectOptions {
            prune_never: self.prune_never,
            prune_confirm: self.prune_confirm,
            delete_never: self.delete_never,
            delete_confirm: self.delete_confirm,
            prune_last: self.prune_last,
            validate: self.validate.unwrap_or(true),
            replace: self.replace,
            force: false,
            migrate_client_side_apply: self.migrate_client_side_apply.unwrap_or(true),
            skip_dry_run_on_missing_resource: self.skip_dry_run_on_missing_resource,
        };
        for option in annotation(object, SYNC_OPTIONS).unwrap_or_default().split(',') {
            match option.trim() {
                "Prune=true" => (read.prune_never, read.prune_confirm) = (false, false),
                "Prune=false" => read.prune_never = true,
                "Prune=confirm" => read.prune_confirm = true,
                "Delete=true" => (read.delete_never, read.delete_confirm) = (false, false),
                "Delete=false" => read.delete_never = true,
                "Delete=confirm" => read.delete_confirm = true,
                "PruneLast=true" => read.prune_last = true,
                "PruneLast=false" => read.prune_last = false,
                "Validate=false" => read.validate = false,
                "Validate=true" => read.validate = true,
                "Replace=true" => read.replace = true,
                "Replace=false" => read.replace = false,
                "Force=true" => read.force = true,
                "ClientSideApplyMigration=true" => read.migrate_client_side_apply = true,
                "ClientSideApplyMigration=false" => read.migrate_client_side_apply = false,
                "SkipDryRunOnMissingResource=true" => read.skip_dry_run_on_missing_resource = true,
                "SkipDryRunOnMissingResource=false" => read.skip_dry_run_on_missing_resource = false,
                _ => {}
            }
        }
        read
    }
}

/// Options in an object's annotation that mean nothing, each with the one probably meant.
pub fn unknown_in_annotation(object: &Value) -> Vec<(String, Option<&'static str>)> {
    annotation(object, SYNC_OPTIONS)
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|option| !option.is_empty() && !KNOWN.contains(option))
        .map(|option| (option.to_owned(), nearest(option)))
        .collect()
}

/// The known option that was probably meant.
fn nearest(unknown: &str) -> Option<&'static str> {
    let squeeze = |text: &str| text.to_ascii_lowercase().replace([' ', ':', '-', '_'], "");
    let wanted = squeeze(unknown).replace('=', "");
    KNOWN
        .iter()
        .map(|known| (distance(&squeeze(known).replace('=', ""), &wanted), *known))
        .filter(|(distance, _)| *distance <= 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Number of single-character edits between two short texts.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, y) in b.chars().enumerate() {
            let (Some(above), Some(left)) = (row.get(j + 1).copied(), row.get(j).copied()) else {
                continue;
            };
            let next = (above + 1).min(left + 1).min(diagonal + usize::from(x != y));
            diagonal = above;
            if let Some(cell) = row.get_mut(j + 1) {
                *cell = next;
            }
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(options: &[&str]) -> AppOptions {
        AppOptions::parse(&options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn unknown_options_are_named_with_what_was_probably_meant() {
        let read = parse(&[
            "CreateNamespace=true",
            "CreateNamspace=true",
            "createNamespace: true",
            "Fancy=yes",
        ]);
        assert!(read.create_namespace);
        assert_eq!(
            read.unknown,
            [
                ("CreateNamspace=true".to_owned(), Some("CreateNamespace=true")),
                ("createNamespace: true".to_owned(), Some("CreateNamespace=true")),
                ("Fancy=yes".to_owned(), None),
            ]
        );
        assert!(parse(&["ServerSideApply=true", "Prune=confirm"]).unknown.is_empty());
    }

    #[test]
    fn the_object_wins_over_the_application() {
        let app = parse(&["Prune=false", "Replace=true", "Validate=false"]);
        let object = json!({"metadata": {"annotations": {SYNC_OPTIONS: "Prune=true, Replace=false,Force=true"}}});
        let read = app.of_object(&object);
        assert!(!read.prune_never && !read.replace && read.force && !read.validate && read.migrate_client_side_apply);
        assert!(app.of_object(&json!({})).prune_never);
    }
}
