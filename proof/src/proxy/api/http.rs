//! HTTP/1.1 of the server's side, as plain as a wire needs it. By hand, because the point of this wire is to answer wrongly:
//! half an answer, none at all, a reset in its midst.

use std::fmt::Write;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longer heads than any client of Kubernetes sends.
const LONGEST_HEAD: usize = 1 << 16;

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

/// An answer, of which the body may take as long as a watch does.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    /// An error in it resets the connection.
    pub(super) body: BoxStream<'static, Result<Bytes>>,
}

/// Reads one request; nothing when the client closed the connection.
pub(super) async fn read(from: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Request>> {
    let mut lines = Vec::new();
    let mut size = 0;
    loop {
        let mut line = Vec::new();
        if from.read_until(b'\n', &mut line).await? == 0 {
            ensure!(lines.is_empty(), "half a request");
            return Ok(None);
        }
        size += line.len();
        ensure!(size <= LONGEST_HEAD, "a head without an end");
        let line = String::from_utf8(line).context("a head that is no text")?.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let mut lines = lines.into_iter();
    let first = lines.next().context("an empty request")?;
    let mut words = first.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else { bail!("not a request: {first}") };
    let (method, target) = (method.to_owned(), target.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|it| it.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())))
        .collect();
    let value = |name: &str| headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str());
    ensure!(value("transfer-encoding").is_none(), "a body without a length");
    let length: usize = value("content-length").unwrap_or("0").parse().context("a length")?;
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    Ok(Some(Request { method, target, headers, body: body.into() }))
}

/// Writes an answer, piece by piece as it comes.
pub(super) async fn write(to: &mut (impl AsyncWrite + Unpin), mut response: Response) -> Result<()> {
    let mut head = format!("HTTP/1.1 {} {}\r\n", response.status, reason(response.status));
    for (name, value) in &response.headers {
        write!(head, "{name}: {value}\r\n").expect("a String takes every write");
    }
    head.push_str("transfer-encoding: chunked\r\n\r\n");
    to.write_all(head.as_bytes()).await?;
    while let Some(piece) = response.body.next().await {
        let piece = piece?;
        if !piece.is_empty() {
            let size = format!("{:x}\r\n", piece.len());
            to.write_all(&[size.as_bytes(), &piece, b"\r\n"].concat()).await?;
        }
    }
    to.write_all(b"0\r\n\r\n").await?;
    Ok(())
}

fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|it| it.canonical_reason()).unwrap_or("Unknown")
}
