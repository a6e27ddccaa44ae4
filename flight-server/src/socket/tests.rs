use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

const LONG: Duration = Duration::from_secs(60);

/// A client and the server's end of its connection.
async fn connection(limit: Duration) -> (TcpStream, Lingering) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let client = TcpStream::connect(listener.local_addr().expect("its address")).await.expect("a connection");
    let (server, _) = listener.accept().await.expect("the server's end");
    (client, Lingering::new(server, limit))
}

#[tokio::test]
async fn a_client_that_writes_while_it_reads_gets_all_of_it() {
    let (mut client, mut server) = connection(LONG).await;
    let sent = vec![7; 1 << 20];
    let expected = sent.len();
    let ends = tokio::spawn(async move {
        server.write_all(&sent).await.expect("sent");
        server.shutdown().await.expect("ended");
    });
    let mut piece = vec![0; 16 << 10];
    let mut got = 0;
    loop {
        client.write_all(b"more, please").await.expect("the connection is whole");
        match client.read(&mut piece).await.expect("the connection is whole") {
            0 => break,
            read => got += read,
        }
    }
    assert_eq!(got, expected);
    // Even after it has read all of it: only its own end, or the limit, ends the connection.
    client.write_all(b"thank you").await.expect("the connection is whole");
    assert!(!ends.is_finished());
    drop(client);
    ends.await.expect("the server's end");
}

#[tokio::test]
async fn a_client_that_never_ends_is_not_waited_for_without_end() {
    let limit = Duration::from_millis(50);
    let (_client, mut server) = connection(limit).await;
    let begun = Instant::now();
    server.shutdown().await.expect("ended");
    assert!(begun.elapsed() >= limit, "{:?}", begun.elapsed());
}
