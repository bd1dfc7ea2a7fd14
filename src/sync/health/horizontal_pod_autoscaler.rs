//! autoscaling/v1 (conditions in an annotation) and v2 HorizontalPodAutoscaler.

use super::{Code, Health, conditions};
use crate::sync::resource::{annotation, text};
use serde_json::{Value, json};

const V1_CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

const DEGRADED: &[(&str, &str)] = &[
    ("AbleToScale", "FailedGetScale"),
    ("AbleToScale", "FailedUpdateScale"),
    ("ScalingActive", "FailedGetResourceMetric"),
    ("ScalingActive", "FailedGetObjectMetric"),
    ("ScalingActive", "FailedGetPodsMetric"),
    ("ScalingActive", "FailedGetExternalMetric"),
    ("ScalingActive", "FailedComputeMetricsReplicas"),
    ("ScalingActive", "InvalidSelector"),
];

pub(super) fn health(object: &Value) -> Health {
    if text(object, "/apiVersion") != "autoscaling/v1" {
        return judge(object);
    }
    match annotation(object, V1_CONDITIONS) {
        None => waiting(),
        Some(list) => match serde_json::from_str::<Value>(list) {
            Ok(list) => judge(&json!({"status": {"conditions": list}})),
            Err(error) => Health::new(
                Code::Unknown,
                format!("annotation {V1_CONDITIONS} is not a JSON list: {error}"),
            ),
        },
    }
}

fn judge(object: &Value) -> Health {
    let bad = conditions(object).find(|(kind, _, reason, _)| DEGRADED.contains(&(kind, reason)));
    if let Some((_, _, _, message)) = bad {
        return Health::new(Code::Degraded, message);
    }
    let good = conditions(object)
        .find(|(kind, status, _, _)| matches!(*kind, "AbleToScale" | "ScalingLimited") && *status == "True");
    match good {
        Some((_, _, _, message)) => Health::new(Code::Healthy, message),
        None => waiting(),
    }
}

fn waiting() -> Health {
    Health::new(Code::Progressing, "Waiting to Autoscale")
}
