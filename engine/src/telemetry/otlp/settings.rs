//! The standard variables as written, turned into settings as meant.

use std::time::Duration;

use opentelemetry::KeyValue;

/// How often spans go out when no batch is full: the specification's default.
const DELAY: Duration = Duration::from_secs(5);

/// How spans travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `grpc`.
    Grpc,
    /// `http/protobuf`.
    Http,
}

/// Where spans go and what is said of their sender.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The collector's address, for HTTP with its path.
    pub endpoint: String,
    /// How.
    pub protocol: Protocol,
    /// Resource attributes, the service's name among them.
    pub resource: Vec<KeyValue>,
    /// How long a span waits for its batch to fill.
    pub delay: Duration,
}

/// A variable with a value that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: `{value}` is not {expected}")]
pub struct BadSetting {
    /// Which.
    pub variable: &'static str,
    /// What it says.
    pub value: String,
    /// What it might say.
    pub expected: &'static str,
}

impl Settings {
    /// Reads the variables through `lookup`; the environment is read by its owner. `None`: spans go nowhere. An empty
    /// value counts as unset, as the specification wants it.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, BadSetting> {
        let get = |variable: &'static str| lookup(variable).filter(|value| !value.trim().is_empty());
        let is = |variable, word: &str| get(variable).is_some_and(|value| value.trim().eq_ignore_ascii_case(word));
        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return Ok(None);
        }
        let protocol = protocol(&get)?;
        let traces = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        let all = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let (variable, endpoint) = match (get(traces), get(all), protocol) {
            (Some(endpoint), ..) => (traces, endpoint),
            // The common endpoint is a base that each signal extends; the one for traces is used as it stands.
            (None, Some(base), Protocol::Http) => (all, format!("{}/v1/traces", base.trim_end_matches('/'))),
            (None, Some(endpoint), Protocol::Grpc) => (all, endpoint),
            (None, None, _) => return Ok(None),
        };
        if protocol == Protocol::Http && !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            return Err(BadSetting { variable, value: endpoint, expected: "an http:// or https:// address" });
        }
        Ok(Some(Self { endpoint, protocol, resource: resource(&get), delay: delay(&get)? }))
    }
}

type Get<'a> = &'a dyn Fn(&'static str) -> Option<String>;

fn protocol(get: Get<'_>) -> Result<Protocol, BadSetting> {
    for variable in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        let Some(value) = get(variable) else { continue };
        return match value.trim() {
            "grpc" => Ok(Protocol::Grpc),
            "http/protobuf" => Ok(Protocol::Http),
            _ => Err(BadSetting { variable, value, expected: "one of grpc, http/protobuf" }),
        };
    }
    Ok(Protocol::Http)
}

fn delay(get: Get<'_>) -> Result<Duration, BadSetting> {
    let variable = "OTEL_BSP_SCHEDULE_DELAY";
    let Some(value) = get(variable) else { return Ok(DELAY) };
    let millis =
        value.trim().parse().map_err(|_| BadSetting { variable, value, expected: "a number of milliseconds" })?;
    Ok(Duration::from_millis(millis))
}

/// Later ones replace earlier ones: ours, then `OTEL_RESOURCE_ATTRIBUTES`, then `OTEL_SERVICE_NAME`.
fn resource(get: Get<'_>) -> Vec<KeyValue> {
    let mut attributes = super::ours().to_vec();
    for pair in get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default().split(',') {
        let Some((key, value)) = pair.split_once('=') else { continue };
        attributes.push(KeyValue::new(key.trim().to_owned(), decoded(value.trim())));
    }
    attributes.extend(get("OTEL_SERVICE_NAME").map(|name| KeyValue::new("service.name", name)));
    attributes
}

/// Percent-decoding, as W3C baggage writes values. What is not valid stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(byte) = code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, BadSetting> {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Settings::read(find)
    }

    #[test]
    fn the_endpoint_follows_the_specification() {
        const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
        for (variables, endpoint) in [
            (vec![(ALL, "http://c:4318")], "http://c:4318/v1/traces"),
            (vec![(ALL, "http://c:4318/base/")], "http://c:4318/base/v1/traces"),
            (vec![(ALL, "http://c:4318"), (TRACES, "http://t/in")], "http://t/in"),
            (vec![(ALL, "http://c:4317"), (PROTOCOL, "grpc")], "http://c:4317"),
        ] {
            assert_eq!(read(&variables).unwrap().unwrap().endpoint, endpoint);
        }
    }

    #[test]
    fn without_an_endpoint_or_switched_off_spans_go_nowhere() {
        const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        for variables in [
            vec![],
            vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
            vec![ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")],
            vec![ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            assert_eq!(read(&variables), Ok(None), "{variables:?}");
        }
    }

    #[test]
    fn a_bad_value_is_named() {
        const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        for (variables, says) in [
            (
                vec![ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")],
                "OTEL_EXPORTER_OTLP_PROTOCOL: `http/json` is not one of grpc, http/protobuf",
            ),
            (
                vec![("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "c:4318")],
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `c:4318` is not an http:// or https:// address",
            ),
            (
                vec![ENDPOINT, ("OTEL_BSP_SCHEDULE_DELAY", "5s")],
                "OTEL_BSP_SCHEDULE_DELAY: `5s` is not a number of milliseconds",
            ),
        ] {
            assert_eq!(read(&variables).unwrap_err().to_string(), says);
        }
    }

    #[test]
    fn the_last_word_on_the_name_is_the_service_name() {
        let mut variables = vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,team=night%20shift, odd=100%"),
        ];
        let name = |variables: &[(&str, &str)], key: &str| {
            let resource = read(variables).unwrap().unwrap().resource;
            resource.iter().rfind(|it| it.key.as_str() == key).unwrap().value.to_string()
        };
        assert_eq!(name(&variables, "service.name"), "a");
        assert_eq!(name(&variables, "team"), "night shift");
        assert_eq!(name(&variables, "odd"), "100%");
        variables.push(("OTEL_SERVICE_NAME", "b"));
        assert_eq!(name(&variables, "service.name"), "b");
        assert_eq!(name(&variables[..1], "service.name"), "flyball");
    }
}
