//! Rotation policies on the wire. Their rules are with [`crate::ops::rotation_policy`], for whoever sets one.

use keyd_client::{
    Period,
    message::{RotationPolicy, Trigger},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Problem;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wire {
    lifetime_actions: Option<Vec<WireAction>>,
    attributes: Option<WireAttributes>,
}

#[derive(Debug, Deserialize)]
struct WireAction {
    trigger: WireTrigger,
    action: WireType,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireTrigger {
    time_after_create: Option<Period>,
    time_before_expiry: Option<Period>,
}

#[derive(Debug, Deserialize)]
struct WireType {
    r#type: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireAttributes {
    expiry_time: Option<Period>,
}

impl Wire {
    /// The policy of a request. Its times of making and changing are not the asker's to say.
    ///
    /// # Errors
    /// [`super::Kind::BadParameter`].
    pub(super) fn judge(self) -> Result<RotationPolicy, Problem> {
        let (mut rotate, mut notify) = (None, None);
        for action in self.lifetime_actions.unwrap_or_default() {
            // The service compares these two without regard to case.
            let place = match action.action.r#type.to_ascii_lowercase().as_str() {
                "rotate" => &mut rotate,
                "notify" => &mut notify,
                _ => {
                    return Err(Problem::bad("lifetimeActions: action.type is Rotate or Notify"));
                }
            };
            if place.replace(action.trigger.judge()?).is_some() {
                return Err(Problem::bad(
                    "lifetimeActions: a policy has at most one Rotate and one Notify action",
                ));
            }
        }
        let expires_after = self.attributes.and_then(|attributes| attributes.expiry_time);
        Ok(RotationPolicy { rotate, notify, expires_after, created: 0, updated: 0 })
    }
}

impl WireTrigger {
    fn judge(self) -> Result<Trigger, Problem> {
        match (self.time_after_create, self.time_before_expiry) {
            (Some(period), None) => Ok(Trigger::AfterCreate(period)),
            (None, Some(period)) => Ok(Trigger::BeforeExpiry(period)),
            _ => Err(Problem::bad(
                "lifetimeActions: trigger has one of timeAfterCreate and timeBeforeExpiry",
            )),
        }
    }
}

/// A policy as it is answered.
pub(super) fn json(policy: &RotationPolicy, id: &str) -> Value {
    let actions: Vec<Value> = [("Rotate", policy.rotate), ("Notify", policy.notify)]
        .into_iter()
        .filter_map(|(name, when)| Some((name, when?)))
        .map(|(name, when)| json!({ "trigger": trigger(when), "action": { "type": name } }))
        .collect();
    json!({
        "id": id,
        "lifetimeActions": actions,
        "attributes": {
            "expiryTime": policy.expires_after,
            "created": policy.created / 1000,
            "updated": policy.updated / 1000,
        },
    })
}

fn trigger(when: Trigger) -> Value {
    match when {
        Trigger::AfterCreate(period) => json!({ "timeAfterCreate": period }),
        Trigger::BeforeExpiry(period) => json!({ "timeBeforeExpiry": period }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(body: &Value) -> Result<RotationPolicy, Problem> {
        serde_json::from_value::<Wire>(body.clone()).unwrap().judge()
    }

    #[test]
    fn a_policy_is_answered_as_it_was_set() {
        let body = json!({
            "lifetimeActions": [
                { "trigger": { "timeAfterCreate": "P18M" }, "action": { "type": "rotate" } },
                { "trigger": { "timeBeforeExpiry": "P30D" }, "action": { "type": "Notify" } },
            ],
            "attributes": { "expiryTime": "P2Y" },
        });
        let policy = judge(&body).unwrap();
        let expected = RotationPolicy {
            rotate: Some(Trigger::AfterCreate("P18M".parse().unwrap())),
            notify: Some(Trigger::BeforeExpiry(Period::days(30))),
            expires_after: Some("P2Y".parse().unwrap()),
            created: 0,
            updated: 0,
        };
        assert_eq!(policy, expected);
        let answered = json!({
            "id": "u",
            "lifetimeActions": [
                { "trigger": { "timeAfterCreate": "P18M" }, "action": { "type": "Rotate" } },
                { "trigger": { "timeBeforeExpiry": "P30D" }, "action": { "type": "Notify" } },
            ],
            "attributes": { "expiryTime": "P2Y", "created": 0, "updated": 0 },
        });
        assert_eq!(json(&policy, "u"), answered);
    }

    #[test]
    fn an_action_comes_once_is_one_of_two_and_has_one_trigger() {
        let action =
            |name| json!({ "trigger": { "timeAfterCreate": "P9D" }, "action": { "type": name } });
        let with = |trigger| json!({ "trigger": trigger, "action": { "type": "Rotate" } });
        assert!(judge(&json!({ "lifetimeActions": [action("Rotate"), action("NOTIFY")] })).is_ok());
        assert!(judge(&json!({})).is_ok());
        let both = json!({ "timeAfterCreate": "P9D", "timeBeforeExpiry": "P9D" });
        for wrong in [
            vec![action("Rotate"), action("rotate")],
            vec![action("Delete")],
            vec![with(json!({}))],
            vec![with(both)],
        ] {
            assert!(judge(&json!({ "lifetimeActions": wrong })).is_err());
        }
    }
}
