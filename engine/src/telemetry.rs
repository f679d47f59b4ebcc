//! stub
use crate::pipeline::Decided;
use flyball_core::intent::{Execution, Intent};
use flyball_core::outcome::Outcome;
use flyball_core::record::Release;
use flyball_core::signal::Signal;
use jiff::Timestamp;
#[derive(Clone, Default)]
pub struct Telemetry;
impl Telemetry {
    pub fn executed(&self, _i: &Intent, _n: u32, _e: &Execution, _a: Timestamp, _b: Timestamp) {}
    pub fn verified(&self, _i: &Intent, _o: Outcome, _d: &str, _a: Timestamp, _b: Timestamp) {}
    pub fn ended(&self, _i: &Intent, _o: Outcome, _n: Timestamp) {}
    pub fn refused(&self, _k: Option<&str>, _r: &flyball_signals::Refusal) {}
    pub fn decided(&self, _s: &Signal, _d: &Decided, _n: Timestamp) {}
    pub fn released(&self, _r: &Release) {}
    pub fn gauges(&self, _e: &crate::pipeline::Engine) {}
    pub async fn flush(&self) {}
    pub fn new_span_id(&self) -> u64 {
        1
    }
    pub fn disabled() -> Self { Self }
}
