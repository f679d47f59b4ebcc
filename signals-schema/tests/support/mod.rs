//! Reads the example files. Tests know inputs and expected words; this knows the interface.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "this is test code, which clippy knows only by its `#[test]`")]

use std::{fs, path::PathBuf};

use flyball_signals::{Kind, Message, Parsed, Refusal, parse};
use serde_json::Value;

/// A message that owns what it is made of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent {
    pub(crate) subject: Option<String>,
    pub(crate) kind: Option<Kind>,
    pub(crate) cluster: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Sent {
    pub(crate) fn parse(&self) -> Result<Parsed, Refusal> {
        parse(&Message {
            subject: self.subject.as_deref(),
            kind: self.kind,
            cluster: self.cluster.as_deref(),
            namespace: None,
            headers: &self.headers,
            body: &self.body,
        })
    }

    pub(crate) fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A plain message on the subject of its kind in `prod`, `shop`.
pub(crate) fn plain(kind: Kind, body: impl Into<Vec<u8>>) -> Sent {
    let subject = format!("flyball.signal.v1.{kind}.prod.shop");
    Sent { subject: Some(subject), body: body.into(), ..Sent::default() }
}

/// The files of `examples/<folder>`, by name and in order, as text.
pub(crate) fn files(folder: &str) -> Vec<(String, String)> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples").join(folder);
    let mut files: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect();
    files.sort();
    files
}

/// A good example, without a subject: its kind is the first word of its name, and `{headers, body}` is the binary form.
pub(crate) fn example(name: &str) -> Sent {
    let (_, text) = files("").into_iter().find(|(file, _)| file == name).unwrap_or_else(|| panic!("no example {name}"));
    let kind = Kind::from_token(name.split('-').next().unwrap()).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let (headers, body) = match value.get("headers") {
        Some(headers) => (pairs(headers), value["body"].to_string()),
        None => (Vec::new(), text),
    };
    Sent { kind: Some(kind), headers, body: body.into_bytes(), ..Sent::default() }
}

/// A bad example, and the reason and field it expects.
pub(crate) fn bad_example(text: &str) -> (Sent, Value) {
    let value: Value = serde_json::from_str(text).unwrap();
    let text_of = |name: &str| value.get(name).map(|value| value.as_str().unwrap().to_owned());
    let body = match (text_of("body_text"), text_of("body_base64")) {
        (Some(text), _) => text.into_bytes(),
        (_, Some(encoded)) => base64(&encoded),
        _ => value["body"].to_string().into_bytes(),
    };
    let sent = Sent {
        subject: text_of("subject"),
        kind: text_of("kind").map(|kind| Kind::from_token(&kind).unwrap()),
        cluster: text_of("cluster"),
        headers: value.get("headers").map(pairs).unwrap_or_default(),
        body,
    };
    (sent, value["expect"].clone())
}

fn pairs(headers: &Value) -> Vec<(String, String)> {
    let headers = headers.as_object().unwrap();
    headers.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for char in text.trim_end_matches('=').chars() {
        bits = (bits << 6) | u32::try_from(ALPHABET.find(char).unwrap()).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).unwrap());
        }
    }
    bytes
}
