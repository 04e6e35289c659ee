//! HTTP/1.1 by hand: a request, its answer, and nothing that a library would smooth over.

use std::collections::HashMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A server that accepts a connection and says nothing for longer is as good as none.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer to a plain HTTP/1.1 request.
#[derive(Debug)]
pub struct HttpAnswer {
    /// Status code.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: HashMap<String, String>,
    /// Body, chunks put together.
    pub body: Vec<u8>,
}

impl HttpAnswer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Gets a path of a server on 127.0.0.1.
pub async fn http_get(port: u16, path: &str) -> std::io::Result<HttpAnswer> {
    exchange(
        port,
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n").into_bytes(),
    )
    .await
}

/// Posts a body to a path of a server on 127.0.0.1.
pub async fn http_post(
    port: u16,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<HttpAnswer> {
    let mut request = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("Content-Length: {}\r\n\r\n", body.len());
    exchange(port, [request.as_bytes(), body].concat()).await
}

async fn exchange(port: u16, request: Vec<u8>) -> std::io::Result<HttpAnswer> {
    tokio::time::timeout(PATIENCE, send(port, request)).await?
}

async fn send(port: u16, request: Vec<u8>) -> std::io::Result<HttpAnswer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(&request).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    read(&answer)
        .ok_or_else(|| std::io::Error::other(format!("no HTTP: {:?}", String::from_utf8_lossy(&answer))))
}

fn read(answer: &[u8]) -> Option<HttpAnswer> {
    let head_end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..head_end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let rest = &answer[head_end + 4..];
    let chunked = headers.get("transfer-encoding").is_some_and(|encoding| encoding.contains("chunked"));
    let body = if chunked { join_chunks(rest)? } else { rest.to_vec() };
    Some(HttpAnswer { status, headers, body })
}

fn join_chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line_end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line_end]).ok()?.trim(), 16).ok()?;
        rest = &rest[line_end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}
