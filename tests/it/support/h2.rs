//! An HTTP/2 client that checks nothing and writes frames as it is told (RFC 9113, RFC 7541).

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

const PATIENCE: Duration = Duration::from_secs(20);

/// One connection.
#[derive(Debug)]
pub struct H2 {
    pub stream: TcpStream,
    next: u32,
    /// The code of a GOAWAY that has come.
    pub goaway: Option<u32>,
}

/// One frame as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Answer {
        status: u16,
        body: String,
    },
    Reset(u32),
    /// The connection ended first.
    Closed,
}

impl Outcome {
    /// The status of an answer; 0 where there is none.
    pub fn status(&self) -> u16 {
        match self {
            Self::Answer { status, .. } => *status,
            Self::Reset(_) | Self::Closed => 0,
        }
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals that nobody remembers (RFC 7541 §6.2.2). Each char is one byte.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

fn text(block: &mut Vec<u8>, text: &str) {
    let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    integer(block, bytes.len());
    block.extend(bytes);
}

/// An integer with a prefix of 7 bits (RFC 7541 §5.1).
fn integer(block: &mut Vec<u8>, number: usize) {
    let Some(mut rest) = number.checked_sub(127) else {
        return block.push(u8::try_from(number).unwrap());
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

impl H2 {
    /// A connection on which nothing has been said.
    pub async fn silent(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, next: 1, goaway: None }
    }

    /// A connection with preface and settings. The table for fields has no place, so that every
    /// status arrives in a form that can be read without it.
    pub async fn connect(address: SocketAddr) -> Self {
        let mut h2 = Self::silent(address).await;
        h2.send(PREFACE).await;
        h2.send(&frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0])).await;
        h2
    }

    /// Sends; a connection that has ended already is seen when it is read.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        matches!(timeout(PATIENCE, self.stream.write_all(bytes)).await, Ok(Ok(())))
    }

    /// The number of the next stream.
    pub fn next_stream(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    /// Begins a request, whole or with a body to come.
    pub async fn begin(&mut self, fields: &[(&str, &str)], whole: bool) -> u32 {
        let stream = self.next_stream();
        let flags = END_HEADERS | if whole { END_STREAM } else { 0 };
        self.send(&frame(HEADERS, flags, stream, &block(fields))).await;
        stream
    }

    /// A request without a body, and what becomes of it.
    pub async fn ask(&mut self, fields: &[(&str, &str)]) -> Outcome {
        let stream = self.begin(fields, true).await;
        self.outcome(stream).await
    }

    /// The next frame; `None` at the end. Settings and pings are answered.
    pub async fn frame(&mut self) -> Option<Frame> {
        let mut header = [0; 9];
        let read = timeout(PATIENCE, self.stream.read_exact(&mut header)).await;
        read.expect("a frame, or the end").ok()?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        let (kind, flags) = (header[3], header[4]);
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        match kind {
            SETTINGS if flags & ACK == 0 => {
                self.send(&frame(SETTINGS, ACK, 0, &[])).await;
            }
            PING if flags & ACK == 0 => {
                self.send(&frame(PING, ACK, 0, &payload)).await;
            }
            GOAWAY => {
                self.goaway = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
            _ => {}
        }
        Some(Frame { kind, flags, stream, payload })
    }

    /// What becomes of the request on `stream`.
    pub async fn outcome(&mut self, stream: u32) -> Outcome {
        let (mut status, mut body) = (0, Vec::new());
        loop {
            let Some(frame) = self.frame().await else { return Outcome::Closed };
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                HEADERS if status == 0 => status = read_status(&frame.payload),
                DATA => body.extend(&frame.payload),
                RST_STREAM if status == 0 => {
                    return Outcome::Reset(u32::from_be_bytes(
                        frame.payload.as_slice().try_into().unwrap(),
                    ));
                }
                // "The answer is whole, do not send the rest" (RFC 9113 §8.1).
                RST_STREAM => {
                    let body = String::from_utf8_lossy(&body).into_owned();
                    return Outcome::Answer { status, body };
                }
                _ => {}
            }
            if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
                let body = String::from_utf8_lossy(&body).into_owned();
                return Outcome::Answer { status, body };
            }
        }
    }

    /// Reads until the proxy closes, and whether it said GOAWAY.
    pub async fn end(&mut self) -> Option<u32> {
        while self.frame().await.is_some() {}
        self.goaway
    }
}

/// `:status`, which comes first.
fn read_status(block: &[u8]) -> u16 {
    // A change of the table's size (RFC 7541 §6.3).
    let block = &block[block.iter().take_while(|byte| **byte & 0xe0 == 0x20).count()..];
    match block[0] {
        0x88 => 200,
        0x89 => 204,
        0x8a => 206,
        0x8b => 304,
        0x8c => 400,
        0x8d => 404,
        0x8e => 500,
        0x08 | 0x18 | 0x48 => digits(block[1], &block[2..]),
        other => panic!("no status first, but {other:#x}"),
    }
}

/// Three digits, plain or in Huffman's code (RFC 7541 appendix B).
fn digits(length: u8, bytes: &[u8]) -> u16 {
    let bytes = &bytes[..usize::from(length & 0x7f)];
    if length & 0x80 == 0 {
        return std::str::from_utf8(bytes).unwrap().parse().unwrap();
    }
    let mut bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let mut number = 0;
    for _ in 0..3 {
        let mut take =
            |count: usize| bits.by_ref().take(count).fold(0, |all, bit| all << 1 | u16::from(bit));
        let first = take(5);
        // 0, 1 and 2 have five bits, the others six.
        let digit = if first < 3 { first } else { (first << 1 | take(1)) - 0x19 + 3 };
        number = number * 10 + digit;
    }
    number
}
