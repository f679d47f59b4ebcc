//! The client protocol of NATS, as far as a wire has to understand it: where a message begins and ends.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use super::{Direction, Message};

/// No server lets a control line grow beyond 4 KiB, save for `INFO` and `CONNECT`.
const LONGEST_LINE: usize = 1 << 20;

/// What stands between two ends of lines, with a payload where there is one.
pub(super) struct Frame {
    /// As it was read, and is written again.
    pub(super) raw: Bytes,
    /// What it is, for `PUB`, `HPUB`, `MSG` and `HMSG`.
    pub(super) message: Option<Message>,
}

/// Reads one frame; nothing at the end of the connection.
pub(super) async fn read(from: &mut (impl AsyncBufRead + Unpin), direction: Direction) -> Result<Option<Frame>> {
    let mut raw = Vec::new();
    if from.read_until(b'\n', &mut raw).await? == 0 {
        return Ok(None);
    }
    ensure!(raw.len() <= LONGEST_LINE && raw.ends_with(b"\n"), "a line without an end");
    let line = std::str::from_utf8(&raw).context("a line that is no text")?.trim_end().to_owned();
    let Some(head) = Head::of(&line, direction)? else {
        let raw = if line.starts_with("INFO ") { without_other_servers(&line)? } else { raw.into() };
        return Ok(Some(Frame { raw, message: None }));
    };
    let start = raw.len();
    raw.resize(start + head.total + 2, 0);
    from.read_exact(&mut raw[start..]).await?;
    let raw = Bytes::from(raw);
    let message = Message {
        direction,
        subject: head.subject,
        reply: head.reply,
        headers: raw.slice(start..start + head.headers),
        payload: raw.slice(start + head.headers..start + head.total),
    };
    Ok(Some(Frame { raw, message: Some(message) }))
}

/// The control line of a message.
struct Head {
    subject: String,
    reply: Option<String>,
    headers: usize,
    total: usize,
}

impl Head {
    fn of(line: &str, direction: Direction) -> Result<Option<Self>> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (verb, rest) = words.split_first().unwrap_or((&"", &[]));
        let verb = verb.to_ascii_uppercase();
        let headed = match verb.as_str() {
            "PUB" | "MSG" => false,
            "HPUB" | "HMSG" => true,
            _ => return Ok(None),
        };
        // What comes down names the subscription after the subject.
        let rest: Vec<&str> = match direction {
            Direction::Up => rest.to_vec(),
            Direction::Down => rest.iter().enumerate().filter(|(at, _)| *at != 1).map(|(_, word)| *word).collect(),
        };
        let sizes = if headed { 2 } else { 1 };
        ensure!(rest.len() == sizes + 1 || rest.len() == sizes + 2, "not a message: {line}");
        let number = |word: &str| word.parse::<usize>().with_context(|| format!("not a size: {line}"));
        let total = number(rest[rest.len() - 1])?;
        let headers = if headed { number(rest[rest.len() - 2])? } else { 0 };
        ensure!(headers <= total, "more headers than message: {line}");
        let reply = (rest.len() == sizes + 2).then(|| rest[1].to_owned());
        Ok(Some(Self { subject: rest[0].to_owned(), reply, headers, total }))
    }
}

/// A client that learned of other addresses would dial around this wire.
fn without_other_servers(line: &str) -> Result<Bytes> {
    let mut info: serde_json::Value = serde_json::from_str(line.trim_start_matches("INFO ")).context("INFO")?;
    if let Some(map) = info.as_object_mut() {
        map.remove("connect_urls");
    }
    Ok(format!("INFO {info}\r\n").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(text: &str, direction: Direction) -> Vec<(Option<Message>, String)> {
        let mut from = text.as_bytes();
        let mut found = Vec::new();
        while let Some(frame) = read(&mut from, direction).await.unwrap() {
            found.push((frame.message, String::from_utf8(frame.raw.to_vec()).unwrap()));
        }
        found
    }

    fn message(direction: Direction, subject: &str, reply: Option<&str>, headers: &str, payload: &str) -> Message {
        Message {
            direction,
            subject: subject.to_owned(),
            reply: reply.map(str::to_owned),
            headers: headers.to_owned().into(),
            payload: payload.to_owned().into(),
        }
    }

    #[tokio::test]
    async fn messages_are_cut_where_they_end() {
        use Direction::{Down, Up};
        let up = "PING\r\nPUB a.b 5\r\nPUB a\r\nHPUB a _INBOX.1 5 7\r\nh\r\n\r\nxy\r\nSUB x 1\r\n";
        let found: Vec<_> = all(up, Up).await.into_iter().map(|(it, _)| it).collect();
        let wanted = [
            None,
            Some(message(Up, "a.b", None, "", "PUB a")),
            Some(message(Up, "a", Some("_INBOX.1"), "h\r\n\r\n", "xy")),
            None,
        ];
        assert_eq!(found, wanted);
        let down = "MSG a 7 2\r\nhi\r\nMSG a 7 $JS.ACK.x 2\r\nyo\r\n+OK\r\n";
        let found: Vec<_> = all(down, Down).await;
        assert_eq!(found[0].0, Some(message(Down, "a", None, "", "hi")));
        assert_eq!(found[1].0, Some(message(Down, "a", Some("$JS.ACK.x"), "", "yo")));
        assert_eq!(found.into_iter().map(|(_, raw)| raw).collect::<String>(), down);
    }

    #[tokio::test]
    async fn no_client_learns_of_other_servers() {
        let found = all("INFO {\"port\":1,\"connect_urls\":[\"127.0.0.1:4222\"]}\r\n", Direction::Down).await;
        assert_eq!(found[0].1, "INFO {\"port\":1}\r\n");
    }
}
