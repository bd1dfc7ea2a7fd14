//! Wire types of `argoproj.io/v1alpha1`, exactly as clients send and read them. No behaviour beyond accessors.
//!
//! Absent stays absent: every field is skipped when it holds its zero value, as the originals' `omitempty` does, and a
//! tree we only pass on (a pod template, for instance) stays raw JSON, so that nothing a user wrote is lost.

pub mod analysis;
pub mod analysis_provider;
pub mod app_project;
pub mod application;
pub mod application_set;
pub mod application_source;
pub mod application_status;
pub mod crd;
pub mod experiment;
pub mod generator;
pub mod replica_set;
pub mod rollout;
pub mod rollout_status;
pub mod scalar;
pub mod strategy;
pub mod traffic;
pub mod unknown_fields;
pub mod well_known;
pub mod workload;

/// The API group of every kind.
pub const GROUP: &str = "argoproj.io";
/// The only served and stored version.
pub const VERSION: &str = "v1alpha1";
/// `group/version` as it stands in `apiVersion`.
pub const API_VERSION: &str = "argoproj.io/v1alpha1";

/// Declares wire structs: camelCase names, absent and null fields allowed, zero values not written.
macro_rules! wire {
    ($( $(#[$meta:meta])* pub struct $name:ident { $( $(#[$field_meta:meta])* pub $field:ident : $ty:ty ),* $(,)? } )*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize, schemars::JsonSchema, serde::Serialize)]
            #[serde(rename_all = "camelCase", default)]
            pub struct $name {
                $(
                    $(#[$field_meta])*
                    #[serde(
                        deserialize_with = "crate::api::scalar::null_is_absent",
                        skip_serializing_if = "crate::api::scalar::Absent::absent"
                    )]
                    pub $field: $ty,
                )*
            }

            impl crate::api::scalar::Absent for $name {
                fn absent(&self) -> bool {
                    false
                }
            }
        )*
    };
}
pub(crate) use wire;

/// Declares wire structs whose fields are all required: they are written also when zero, else the API server would
/// refuse what we send.
macro_rules! wire_required {
    ($( $(#[$meta:meta])* pub struct $name:ident { $( $(#[$field_meta:meta])* pub $field:ident : $ty:ty ),* $(,)? } )*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize, schemars::JsonSchema, serde::Serialize)]
            #[serde(rename_all = "camelCase", default)]
            pub struct $name {
                $(
                    $(#[$field_meta])*
                    #[serde(deserialize_with = "crate::api::scalar::null_is_absent")]
                    pub $field: $ty,
                )*
            }

            impl crate::api::scalar::Absent for $name {
                fn absent(&self) -> bool {
                    false
                }
            }
        )*
    };
}
pub(crate) use wire_required;

/// Declares a kind: the struct with type and object metadata, and its `kube::Resource` implementation.
macro_rules! resource {
    ($(#[$meta:meta])* $name:ident, $plural:literal, $scope:ident, { $( $(#[$field_meta:meta])* $field:ident : $ty:ty ),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Deserialize, schemars::JsonSchema, serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            /// Always `argoproj.io/v1alpha1`.
            #[serde(default = "crate::api::api_version")]
            pub api_version: String,
            /// The kind's name.
            #[serde(default)]
            pub kind: String,
            /// Standard object metadata.
            #[serde(default, deserialize_with = "crate::api::scalar::null_is_absent")]
            #[schemars(schema_with = "crate::api::scalar::object_metadata")]
            pub metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            $(
                $(#[$field_meta])*
                #[serde(
                    default,
                    deserialize_with = "crate::api::scalar::null_is_absent",
                    skip_serializing_if = "crate::api::scalar::Absent::absent"
                )]
                pub $field: $ty,
            )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    api_version: crate::api::api_version(),
                    kind: stringify!($name).to_owned(),
                    metadata: Default::default(),
                    $( $field: Default::default(), )*
                }
            }
        }

        impl kube::Resource for $name {
            type DynamicType = ();
            type Scope = k8s_openapi::$scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                stringify!($name).into()
            }
            fn group((): &()) -> std::borrow::Cow<'_, str> {
                crate::api::GROUP.into()
            }
            fn version((): &()) -> std::borrow::Cow<'_, str> {
                crate::api::VERSION.into()
            }
            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
pub(crate) use resource;

/// The default of `apiVersion` when an object comes from a list, whose items do not carry it.
pub(crate) fn api_version() -> String {
    API_VERSION.to_owned()
}

#[cfg(test)]
mod tests;
