//! The stop button.

use super::Scene;
use crate::deny::DenyReason;

pub(super) fn paused(scene: &Scene<'_>) -> Result<(), DenyReason> {
    let found = scene.history.pauses(scene.now).find(|(_, pause)| pause.scope.covers(&scene.request.target));
    found.map_or(Ok(()), |(_, pause)| {
        Err(DenyReason::Paused { pause: pause.id.to_string(), because: pause.reason.clone(), until: pause.until })
    })
}
