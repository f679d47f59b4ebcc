//! The engine: the core's decisions carried out against real doors. The one binary is `flyball`.

pub mod clock;
