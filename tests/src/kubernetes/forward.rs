//! TCP connections handed on, byte for byte.

use std::fs::File;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use nix::sched::{CloneFlags, setns};

/// Hands every connection to this listener on to a connection that `connect` makes; for as long as the process lasts.
pub(super) fn serve(listener: TcpListener, connect: impl Fn() -> io::Result<TcpStream> + Send + Sync + 'static) {
    let connect = Arc::new(connect);
    std::thread::spawn(move || {
        for near in listener.incoming() {
            let Ok(near) = near else { continue };
            let connect = Arc::clone(&connect);
            std::thread::spawn(move || {
                // Who cannot be reached is for the other side to see: its connection is closed.
                let _ = connect().and_then(|far| both_ways(&near, &far));
            });
        }
    });
}

fn both_ways(near: &TcpStream, far: &TcpStream) -> io::Result<()> {
    for stream in [near, far] {
        stream.set_nodelay(true)?;
    }
    std::thread::scope(|scope| {
        scope.spawn(|| hand_on(near, far));
        hand_on(far, near);
    });
    Ok(())
}

fn hand_on(mut from: &TcpStream, mut to: &TcpStream) {
    // However one direction ends, its end is handed on, too.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// Makes connections from inside another network namespace: they stay there.
pub(super) fn from_inside(
    namespace: &Path,
    to: SocketAddr,
) -> anyhow::Result<impl Fn() -> io::Result<TcpStream> + use<>> {
    let net = File::open(namespace).with_context(|| format!("cannot open {}", namespace.display()))?;
    Ok(move || {
        let thread = std::thread::scope(|scope| {
            let connecting = scope.spawn(|| {
                setns(&net, CloneFlags::CLONE_NEWNET)?;
                TcpStream::connect(to)
            });
            connecting.join()
        });
        thread.unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    })
}
