//! Which names Kubernetes allows. Knows no objects: a name that passes need not exist.

/// The longest DNS label, in bytes (RFC 1123).
pub const MAX_LABEL: usize = 63;
/// The longest DNS subdomain, in bytes (RFC 1123 as Kubernetes applies it to object names).
pub const MAX_SUBDOMAIN: usize = 253;

/// Whether `text` is an RFC 1123 label: 1 to 63 of `a-z`, `0-9` and `-`, no `-` at either end.
///
/// Kubernetes asks this of namespaces; subjects ask it of every token, so that no name can hold a wildcard or a dot.
pub fn is_label(text: &str) -> bool {
    text.len() <= MAX_LABEL && is_label_of_any_length(text.as_bytes())
}

/// Whether `text` is an RFC 1123 subdomain: labels joined by dots, at most 253 bytes.
///
/// Kubernetes asks this of workloads and pods. It does not bound the single label, and neither does this.
pub fn is_subdomain(text: &str) -> bool {
    text.len() <= MAX_SUBDOMAIN && text.split('.').all(|label| is_label_of_any_length(label.as_bytes()))
}

/// Whether `text` can be the kind of a Kubernetes object (`Deployment`): a letter, then letters and digits, at most 63 bytes.
pub fn is_object_kind(text: &str) -> bool {
    text.len() <= MAX_LABEL
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_label_of_any_length(label: &[u8]) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    edge(label.first())
        && edge(label.last())
        && label.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        let longest = "a".repeat(63);
        for good in ["a", "0", "shop", "erp-2", "a--b", &longest] {
            assert!(is_label(good), "{good}");
        }
        let too_long = "a".repeat(64);
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "a b", "*", ">", "ä", &too_long] {
            assert!(!is_label(bad), "{bad}");
        }
    }

    #[test]
    fn subdomains() {
        let longest = format!("{}.{}", "a".repeat(126), "b".repeat(126));
        for good in ["cart", "cart.v2", "a.b.c", &longest] {
            assert!(is_subdomain(good), "{good}");
        }
        let too_long = "a".repeat(254);
        for bad in ["", ".", "a.", ".a", "a..b", "Cart", "cart/1", "cart\n", &too_long] {
            assert!(!is_subdomain(bad), "{bad}");
        }
    }

    #[test]
    fn object_kinds() {
        assert!(is_object_kind("Deployment") && is_object_kind("StatefulSet"));
        assert!(
            !is_object_kind("") && !is_object_kind("2Set") && !is_object_kind("apps/v1") && !is_object_kind("Größe")
        );
    }
}
