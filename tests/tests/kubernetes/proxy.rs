//! An HTTP proxy as companies have them: it opens tunnels (CONNECT) to the hosts it knows.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A proxy on loopback; its threads end with the connections they serve.
pub(super) struct Proxy {
    address: SocketAddr,
    known: Arc<Known>,
}

#[derive(Default)]
struct Known {
    hosts: Mutex<HashMap<String, String>>,
    tunnels: AtomicUsize,
}

impl Proxy {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let known = Arc::new(Known::default());
        let of_thread = Arc::clone(&known);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let known = Arc::clone(&of_thread);
                // A client that goes away is none of the proxy's business.
                std::thread::spawn(move || known.serve(client).ok());
            }
        });
        Self { address, known }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What is asked for as `host` is at `server`.
    pub(super) fn lead(&self, host: &str, server: &str) {
        self.known
            .hosts
            .lock()
            .unwrap()
            .insert(host.to_owned(), server.to_owned());
    }

    /// How many tunnels were opened so far.
    pub(super) fn tunnels(&self) -> usize {
        self.known.tunnels.load(Ordering::SeqCst)
    }
}

impl Known {
    fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        let mut request = BufReader::new(client.try_clone()?);
        let mut first = String::new();
        request.read_line(&mut first)?;
        let mut header = String::new();
        while request.read_line(&mut header)? > 2 {
            header.clear();
        }
        let host = first.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
        let server = host.and_then(|host| self.hosts.lock().unwrap().get(host).cloned());
        let Some(server) = server else {
            return client.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        };
        let server = TcpStream::connect(server)?;
        self.tunnels.fetch_add(1, Ordering::SeqCst);
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        let (mut back, mut to_client) = (server.try_clone()?, client.try_clone()?);
        let returning = std::thread::spawn(move || {
            let passed = std::io::copy(&mut back, &mut to_client);
            to_client.shutdown(Shutdown::Write).and(passed.map(|_| ()))
        });
        let mut to_server = server;
        std::io::copy(&mut request, &mut to_server)?;
        to_server.shutdown(Shutdown::Write)?;
        returning.join().expect("it does not panic")
    }
}
