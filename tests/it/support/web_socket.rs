//! A WebSocket client that shows every frame.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use super::{Browser, Stack};

/// One open socket.
#[derive(Debug)]
pub struct WebSocket(BufReader<TcpStream>);

/// One frame as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub last: bool,
    pub opcode: u8,
    pub payload: Vec<u8>,
    pub masked: bool,
}

impl Frame {
    /// Code and reason of a Close frame.
    pub fn close(&self) -> (u16, String) {
        assert_eq!(self.opcode, 8, "no Close frame, but {} bytes", self.payload.len());
        let (code, text) = self.payload.split_at(2);
        let code = u16::from_be_bytes(code.try_into().unwrap());
        (code, String::from_utf8(text.to_vec()).unwrap())
    }
}

impl WebSocket {
    /// The handshake of a page at the proxy's own origin.
    pub async fn open(stack: &Stack, browser: &Browser, path: &str) -> Self {
        let cookies: Vec<String> =
            browser.session_cookies().iter().map(|(n, v)| format!("{n}={v}")).collect();
        let cookies = match cookies.join("; ") {
            none if none.is_empty() => String::new(),
            some => format!("Cookie: {some}\r\n"),
        };
        let handshake = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Origin: {}\r\n{cookies}\r\n",
            stack.host(),
            stack.origin(),
        );
        let address = stack.proxy.address().unwrap();
        let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
        stream.write_all(handshake.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self(stream)
    }

    /// A masked frame, as clients send them.
    pub async fn send(&mut self, opcode: u8, payload: &[u8]) {
        let length = u8::try_from(payload.len()).unwrap();
        assert!(length < 126);
        let mask = [7, 8, 9, 10];
        let mut frame = vec![0x80 | opcode, 0x80 | length];
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.0.write_all(&frame).await.unwrap();
    }

    /// The next frame; `None` where the connection ends between two frames.
    pub async fn frame(&mut self) -> Option<Frame> {
        timeout(Duration::from_secs(10), read_frame(&mut self.0)).await.expect("a frame or the end")
    }

    /// Some of the bytes that come next.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let read = self.0.read_exact(&mut bytes);
        timeout(Duration::from_secs(10), read).await.expect("bytes").unwrap();
        bytes
    }

    /// Everything until the connection ends.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = self.0.read_to_end(&mut bytes);
        let _ = timeout(Duration::from_secs(10), read).await.expect("an end");
        bytes
    }

    /// Says something to an app that sends it back.
    pub async fn echo(&mut self, text: &str) {
        self.send(1, text.as_bytes()).await;
        let frame = self.frame().await.expect("the echo");
        assert_eq!((frame.opcode, frame.payload.as_slice()), (1, text.as_bytes()));
    }

    /// The Close frame that must come next; answered, as browsers do, and followed by the end.
    pub async fn closed(&mut self) -> (u16, String) {
        let frame = self.frame().await.expect("a Close frame");
        let said = frame.close();
        assert!(!frame.masked, "a server does not mask");
        let code = frame.payload.get(..2).unwrap_or_default().to_vec();
        self.send(8, &code).await;
        assert_eq!(self.frame().await, None, "nothing follows a Close frame");
        said
    }
}

/// Reads a frame from either side.
pub async fn read_frame(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<Frame> {
    let first = stream.read_u8().await.ok()?;
    let second = stream.read_u8().await.unwrap();
    let length = match second & 0x7f {
        126 => u64::from(stream.read_u16().await.unwrap()),
        127 => stream.read_u64().await.unwrap(),
        short => u64::from(short),
    };
    let masked = second & 0x80 != 0;
    let mut mask = [0; 4];
    if masked {
        stream.read_exact(&mut mask).await.unwrap();
    }
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).await.unwrap();
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Some(Frame { last: first & 0x80 != 0, opcode: first & 0xf, payload, masked })
}
