//! The app behind every proxy of the comparison: it answers the same bytes as fast as it can, so
//! that what is measured is the proxy. A path that ends in `64k` gets 64 KB, any other 1 KB.
//!
//! It reads heads only, never bodies. `compare_app 127.0.0.1:0` prints the address that it took.

#![expect(clippy::print_stdout, reason = "the address is what the harness reads")]

use std::{io, net::TcpListener as StdListener, thread};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Builder,
};

/// Enough for the access token of a user in 200 groups.
const ROOM: usize = 64 * 1024;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = StdListener::bind(address)?;
    listener.set_nonblocking(true)?;
    println!("{}", listener.local_addr()?);
    let answers = Answers { small: answer(1024), large: answer(64 * 1024) };
    let mut threads = Vec::new();
    for _ in 0..thread::available_parallelism()?.get() {
        let (listener, answers) = (listener.try_clone()?, answers.clone());
        threads.push(thread::spawn(move || serve(listener, &answers)));
    }
    for thread in threads {
        thread.join().map_err(|_| io::Error::other("a thread panicked"))??;
    }
    Ok(())
}

#[derive(Clone)]
struct Answers {
    small: Bytes,
    large: Bytes,
}

fn answer(size: usize) -> Bytes {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nServer: app\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
         Content-Type: text/plain\r\nContent-Length: {size}\r\n\r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + size, b'x');
    answer.into()
}

fn serve(listener: StdListener, answers: &Answers) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::task::spawn_local(converse(stream, answers.clone()));
        }
    })
}

/// Answers until the other side has had enough, or sends more than a head may be.
async fn converse(mut stream: TcpStream, answers: Answers) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::with_capacity(1024);
    while stream.read_buf(&mut head).await? > 0 && head.len() < ROOM {
        if let Some(end) = head.windows(4).rposition(|bytes| bytes == b"\r\n\r\n") {
            let target = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
            let answer = if target.ends_with(b"64k") { &answers.large } else { &answers.small };
            stream.write_all(answer).await?;
            head.drain(..end + 4);
        }
    }
    Ok(())
}
