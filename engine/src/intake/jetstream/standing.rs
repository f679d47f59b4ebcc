//! Where a delivery stands, as its reply subject says: asked of every message, so read in one pass and without a copy.

use jiff::Timestamp;

const PREFIX: &str = "$JS.ACK.";
const NANOS: i64 = 1_000_000_000;

/// What is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// The how-manieth delivery of its message it is.
    pub(super) time: u64,
    /// Sequence in the stream.
    pub(super) sequence: u64,
    /// When the stream stored it.
    pub(super) published_at: Timestamp,
}

impl Standing {
    /// Reads `$JS.ACK.<domain>.<account>.<stream>.<consumer>.<delivered>.<sequence>.<consumer's sequence>.<time>.<pending>`; older
    /// servers leave domain and account out, newer ones add to the end. Nothing for any other text.
    pub(super) fn of(reply: &str) -> Option<Self> {
        let rest = reply.strip_prefix(PREFIX)?;
        let names = match rest.bytes().filter(|byte| *byte == b'.').count() {
            6 => 2,
            8.. => 4,
            _ => return None,
        };
        let mut tokens = rest.split('.').skip(names);
        let time = tokens.next()?.parse().ok()?;
        let sequence = tokens.next()?.parse().ok()?;
        let nanos: i64 = tokens.nth(1)?.parse().ok()?;
        let within = i32::try_from(nanos.rem_euclid(NANOS)).ok()?;
        let published_at = Timestamp::new(nanos.div_euclid(NANOS), within).ok()?;
        Some(Self { time, sequence, published_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_nothing_else() {
        let standing = Standing { time: 3, sequence: 70, published_at: Timestamp::new(1_795_000_000, 5).unwrap() };
        for reply in [
            "$JS.ACK.FLYBALL_SIGNALS.flyball-prod.3.70.81.1795000000000000005.12",
            "$JS.ACK._.acc.FLYBALL_SIGNALS.flyball-prod.3.70.81.1795000000000000005.12",
            "$JS.ACK.hub.acc.FLYBALL_SIGNALS.flyball-prod.3.70.81.1795000000000000005.12.token",
        ] {
            assert_eq!(Standing::of(reply), Some(standing), "{reply}");
        }
        for reply in
            ["", "_INBOX.x", "$JS.ACK.", "$JS.ACK.a.b.c.d.e.f.g", "$JS.ACK.a.b.1.2.3.4", "$JS.ACK.a.b.1.2.3.4.5.6"]
        {
            assert_eq!(Standing::of(reply), None, "{reply}");
        }
    }
}
