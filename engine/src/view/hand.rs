//! What people may do to an action: cancel it, or say what became of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::pause::{Wrong, line, name};
use crate::pipeline::Word;

/// The longest reason, in characters, as of a pause.
const LONGEST: usize = 500;

/// Why a person asks for something: to cancel an action, to trust a policy again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Because {
    /// Why.
    #[schema(min_length = 1, max_length = 500)]
    pub reason: String,
    /// Who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 100)]
    pub by: Option<String>,
}

/// A person's word on a send that nobody can read back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Resolve {
    /// What became of it.
    #[serde(rename = "as")]
    #[schema(inline)]
    pub end: End,
    /// How that is known.
    #[schema(min_length = 1, max_length = 500)]
    pub reason: String,
    /// Who says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 100)]
    pub by: Option<String>,
}

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// It landed.
    Applied,
    /// It did not, and will not.
    Absent,
}

impl Because {
    /// Checks it.
    ///
    /// # Errors
    /// The first field that cannot be used.
    pub fn check(&self) -> Result<Word, Wrong> {
        word(&self.reason, self.by.as_deref())
    }
}

impl Resolve {
    /// Checks it.
    ///
    /// # Errors
    /// The first field that cannot be used.
    pub fn check(&self) -> Result<Word, Wrong> {
        word(&self.reason, self.by.as_deref())
    }
}

fn word(reason: &str, by: Option<&str>) -> Result<Word, Wrong> {
    let reason = line("reason", reason, LONGEST)?;
    if reason.is_empty() {
        return Err(("reason", "say why: it is kept with the decision".to_owned()));
    }
    Ok(Word { reason, by: name(by)? })
}
