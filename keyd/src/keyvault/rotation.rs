//! Rotation policies: when a key is to get a new version by itself, and how long its versions are to last.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Problem, attributes::UnixSeconds, period::Period};

/// Shortest life of a version, days (Key Vault's rule).
const EXPIRY_DAYS_MIN: u32 = 28;

/// Shortest time from a version's making to its rotation, and from there to its expiry, days (Key Vault's rule).
const ROTATE_DAYS_MIN: u32 = 7;

/// When something is to happen, counted for each version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Trigger {
    /// So long after it was made.
    TimeAfterCreate(Period),
    /// So long before it expires.
    TimeBeforeExpiry(Period),
}

/// A policy that keeps Key Vault's rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationPolicy {
    /// When a new version is made.
    pub rotate: Option<Trigger>,
    /// When the approaching expiry is written down.
    pub notify: Option<Trigger>,
    /// Life of new versions.
    pub expiry: Option<Period>,
}

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
    /// Judges the policy of a request.
    ///
    /// # Errors
    /// [`super::Kind::BadParameter`].
    pub(super) fn judge(self) -> Result<RotationPolicy, Problem> {
        let expiry = self.attributes.and_then(|attributes| attributes.expiry_time);
        let mut policy = RotationPolicy { expiry, ..RotationPolicy::default() };
        for action in self.lifetime_actions.unwrap_or_default() {
            let trigger = action.trigger.judge()?;
            // The service compares these two without regard to case.
            let place = match action.action.r#type.to_ascii_lowercase().as_str() {
                "rotate" => &mut policy.rotate,
                "notify" => &mut policy.notify,
                _ => return Err(Problem::bad("a lifetime action's type is Rotate or Notify")),
            };
            if place.replace(trigger).is_some() {
                return Err(Problem::bad("a policy has at most one Rotate and one Notify action"));
            }
        }
        policy.judge()?;
        Ok(policy)
    }
}

impl WireTrigger {
    fn judge(self) -> Result<Trigger, Problem> {
        match (self.time_after_create, self.time_before_expiry) {
            (Some(period), None) => Ok(Trigger::TimeAfterCreate(period)),
            (None, Some(period)) => Ok(Trigger::TimeBeforeExpiry(period)),
            _ => Err(Problem::bad("a trigger has one of timeAfterCreate and timeBeforeExpiry")),
        }
    }
}

impl RotationPolicy {
    /// Key Vault's rules.
    fn judge(&self) -> Result<(), Problem> {
        let life = self.expiry.map(Period::days);
        if life.is_some_and(|days| days < EXPIRY_DAYS_MIN) {
            return Err(Problem::bad(format!("expiryTime is at least {EXPIRY_DAYS_MIN} days")));
        }
        for trigger in [self.rotate, self.notify].into_iter().flatten() {
            match (trigger, life) {
                (Trigger::TimeBeforeExpiry(_), None) => {
                    return Err(Problem::bad("timeBeforeExpiry needs attributes.expiryTime"));
                }
                (
                    Trigger::TimeBeforeExpiry(period) | Trigger::TimeAfterCreate(period),
                    Some(life),
                ) if period.days() > life => {
                    return Err(Problem::bad("a trigger is within the time of expiryTime"));
                }
                _ => {}
            }
        }
        let Some(rotate) = self.rotate else { return Ok(()) };
        let (after, before) = match rotate {
            Trigger::TimeAfterCreate(period) => {
                (period.days(), life.map(|life| life.saturating_sub(period.days())))
            }
            Trigger::TimeBeforeExpiry(period) => {
                (life.unwrap_or_default().saturating_sub(period.days()), Some(period.days()))
            }
        };
        if after < ROTATE_DAYS_MIN || before.is_some_and(|days| days < ROTATE_DAYS_MIN) {
            return Err(Problem::bad(format!(
                "a key rotates at least {ROTATE_DAYS_MIN} days after a version is made and {ROTATE_DAYS_MIN} before it expires"
            )));
        }
        Ok(())
    }

    /// The policy as it is answered.
    pub(super) fn json(&self, id: &str, created: UnixSeconds, updated: UnixSeconds) -> Value {
        let actions: Vec<Value> = [("Rotate", self.rotate), ("Notify", self.notify)]
            .into_iter()
            .filter_map(|(name, trigger)| {
                trigger.map(|trigger| json!({ "trigger": trigger, "action": { "type": name } }))
            })
            .collect();
        json!({
            "id": id,
            "lifetimeActions": actions,
            "attributes": { "expiryTime": self.expiry, "created": created, "updated": updated },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(body: &Value) -> Result<RotationPolicy, Problem> {
        serde_json::from_value::<Wire>(body.clone()).unwrap().judge()
    }

    fn rotate(trigger: &Value, expiry: Option<&str>) -> Result<RotationPolicy, Problem> {
        judge(&json!({
            "lifetimeActions": [{ "trigger": trigger, "action": { "type": "rotate" } }],
            "attributes": { "expiryTime": expiry },
        }))
    }

    #[test]
    fn a_policy_is_answered_as_it_was_set() {
        let body = json!({
            "lifetimeActions": [
                { "trigger": { "timeAfterCreate": "P18M" }, "action": { "type": "Rotate" } },
                { "trigger": { "timeBeforeExpiry": "P30D" }, "action": { "type": "Notify" } },
            ],
            "attributes": { "expiryTime": "P2Y" },
        });
        let mut answered = judge(&body).unwrap().json("u", 1, 2);
        assert_eq!(answered["id"], "u");
        assert_eq!(answered["attributes"]["created"], 1);
        answered.as_object_mut().unwrap().remove("id");
        answered["attributes"] = json!({ "expiryTime": answered["attributes"]["expiryTime"] });
        assert_eq!(answered, body);
    }

    #[test]
    fn rules_of_the_service_are_kept() {
        let after = |period| json!({ "timeAfterCreate": period });
        let before = |period| json!({ "timeBeforeExpiry": period });
        assert!(rotate(&after("P7D"), None).is_ok());
        assert!(rotate(&after("P6D"), None).is_err());
        assert!(rotate(&after("P21D"), Some("P28D")).is_ok());
        assert!(rotate(&after("P22D"), Some("P28D")).is_err());
        assert!(rotate(&after("P7D"), Some("P27D")).is_err());
        assert!(rotate(&before("P7D"), Some("P28D")).is_ok());
        assert!(rotate(&before("P6D"), Some("P28D")).is_err());
        assert!(rotate(&before("P22D"), Some("P28D")).is_err());
        assert!(rotate(&before("P30D"), None).is_err());
        assert!(rotate(&json!({}), None).is_err());
        assert!(
            rotate(&json!({ "timeAfterCreate": "P9D", "timeBeforeExpiry": "P9D" }), None).is_err()
        );
    }

    #[test]
    fn an_action_comes_once_and_is_one_of_two() {
        let action =
            |name| json!({ "trigger": { "timeAfterCreate": "P9D" }, "action": { "type": name } });
        assert!(judge(&json!({ "lifetimeActions": [action("Rotate"), action("NOTIFY")] })).is_ok());
        assert!(
            judge(&json!({ "lifetimeActions": [action("Rotate"), action("rotate")] })).is_err()
        );
        assert!(judge(&json!({ "lifetimeActions": [action("Delete")] })).is_err());
        assert_eq!(judge(&json!({})), Ok(RotationPolicy::default()));
    }
}
