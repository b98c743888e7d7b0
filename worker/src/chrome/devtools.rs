//! The way to the DevTools port of a browser that has a network namespace of its own: nobody else on the machine has one.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use url::Url;

/// How long a connection may take to ask for the browser.
const REQUEST_TIME: Duration = Duration::from_secs(1);
/// How long the connection that asks for the browser may take to come.
const ACCEPT_TIME: Duration = Duration::from_secs(60);

/// Connects `client`, a socket of the browser's namespace, to the WebSocket at `url`, and returns the URL where one client
/// of this process finds the same, and the task that forwards between the two. It accepts the first connection that asks
/// for the path of `url`, which nobody else knows, and then listens no longer.
///
/// # Errors
///
/// `url` has no port, or the browser does not listen on it.
pub(super) async fn forward(url: &str, client: std::net::TcpStream) -> io::Result<(Url, JoinHandle<()>)> {
    let mut url = Url::parse(url).map_err(io::Error::other)?;
    client.set_nonblocking(true)?;
    let port = url.port().ok_or_else(|| io::Error::other(format!("{url} has no port")))?;
    let mut browser = TcpSocket::from_std_stream(client).connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    browser.set_nodelay(true)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    // Fails for URLs without a host only.
    let _ = url.set_port(Some(listener.local_addr()?.port()));
    let request = format!("GET {} HTTP/1.1\r\n", url.path()).into_bytes();
    let task = tokio::spawn(async move {
        let forwarding = async {
            let mut own = tokio::time::timeout(ACCEPT_TIME, accept(&listener, &request)).await??;
            drop(listener);
            own.set_nodelay(true)?;
            browser.write_all(&request).await?;
            copy_bidirectional(&mut own, &mut browser).await
        };
        if let Err(error) = forwarding.await {
            tracing::debug!(target: "chrome", %error, "the DevTools connection ended");
        }
    });
    Ok((url, task))
}

/// The first connection that begins with `request`.
async fn accept(listener: &TcpListener, request: &[u8]) -> io::Result<TcpStream> {
    loop {
        let (mut connection, _) = listener.accept().await?;
        let mut begin = vec![0; request.len()];
        let read = tokio::time::timeout(REQUEST_TIME, connection.read_exact(&mut begin)).await;
        if matches!(read, Ok(Ok(_))) && begin == request {
            return Ok(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketType};

    use super::*;

    #[tokio::test]
    async fn only_one_who_knows_the_path_is_forwarded_and_only_once() {
        let browser = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap().into();
        let asked = format!("ws://{}/devtools/browser/0-1", browser.local_addr().unwrap());
        let (url, task) = forward(&asked, client).await.unwrap();
        let (mut served, _) = browser.accept().await.unwrap();
        let address = (Ipv4Addr::LOCALHOST, url.port().unwrap());

        let mut stranger = TcpStream::connect(address).await.unwrap();
        stranger.write_all(b"GET /json/version HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        // The connection is closed, or reset because not all that it sent was read.
        let _ = stranger.read_to_end(&mut answer).await;
        assert!(answer.is_empty());

        let mut own = TcpStream::connect(address).await.unwrap();
        own.write_all(b"GET /devtools/browser/0-1 HTTP/1.1\r\nrest").await.unwrap();
        let mut received = [0; 40];
        served.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"GET /devtools/browser/0-1 HTTP/1.1\r\nrest");
        served.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        own.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
        assert!(TcpStream::connect(address).await.is_err(), "it listens still");
        drop((served, own));
        task.await.unwrap();
    }
}
