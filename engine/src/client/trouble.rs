//! Why a command has no answer, and the exit code that says so.

use std::fmt;

use crate::http::Problem;

/// Why a command has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// What was given cannot be used.
    Unusable(String),
    /// Nobody answered at the address.
    Unreachable {
        /// Which.
        address: String,
        /// Why.
        detail: String,
    },
    /// The engine said no.
    Refused {
        /// Who.
        address: String,
        /// What it said.
        problem: Box<Problem>,
    },
    /// The answer is a negative one.
    Negative(String),
}

impl Trouble {
    /// 1 negative answer, 2 could not run, 4 not authorised.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unusable(_) | Self::Unreachable { .. } => 2,
            Self::Negative(_) => 1,
            Self::Refused { problem, .. } => match problem.status {
                401 | 403 => 4,
                // It may say yes to the same question later: that is no answer.
                429 | 500.. => 2,
                _ => 1,
            },
        }
    }

    /// An error with all that caused it.
    pub(super) fn chain(error: &dyn std::error::Error) -> String {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let said = cause.to_string();
            if !text.ends_with(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            source = cause.source();
        }
        text
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable(why) | Self::Negative(why) => f.write_str(why),
            Self::Unreachable { address, detail } => write!(f, "{address} cannot be reached: {detail}"),
            Self::Refused { address, problem } => match (&problem.field, problem.status) {
                (_, 401 | 403) => write!(f, "{address} did not let us: {}", problem.detail),
                (Some(field), _) => write!(f, "field `{field}`: {}", problem.detail),
                (None, 500..) => write!(f, "{address}: {}", problem.detail),
                (None, _) => f.write_str(&problem.detail),
            },
        }
    }
}

impl std::error::Error for Trouble {}
