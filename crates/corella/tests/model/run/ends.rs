//! One end of a link, of whatever kind, and what they have in common.

use corella::{Action, DatagramSocket, Error, File, Operation, Shutdown, Socket};

/// One end of a link.
#[derive(Clone)]
pub enum End {
    Socket(Socket),
    Pipe(File),
    Datagrams(DatagramSocket),
}

impl End {
    pub fn close(&self, now: bool) -> Operation<impl Action<Output = (), Error = Error> + use<>> {
        match self {
            End::Socket(socket) if now => socket.close_now(),
            End::Socket(socket) => socket.close(),
            End::Pipe(file) if now => file.close_now(),
            End::Pipe(file) => file.close(),
            End::Datagrams(socket) if now => socket.close_now(),
            End::Datagrams(socket) => socket.close(),
        }
    }

    /// Says that no more will be sent, if that can be said to a receiver at its end.
    pub async fn end_sending(&self, is_writer: bool) {
        match self {
            End::Socket(socket) => drop(socket.shutdown(Shutdown::Write).await),
            End::Pipe(file) if is_writer => drop(file.close().await),
            End::Pipe(_) | End::Datagrams(_) => {}
        }
    }

    /// Receives a stream's rest.
    pub async fn receive_rest(&self) -> Vec<u8> {
        let rest = match self {
            End::Socket(socket) => socket.recv_to_end(Vec::new()).await,
            End::Pipe(file) => file.read_to_end(Vec::new()).await,
            End::Datagrams(_) => return Vec::new(),
        };
        match rest {
            Ok((_, bytes)) => bytes,
            Err(failed) => failed.buffer,
        }
    }
}

/// Whether it is the end of a pipe that nothing comes out of.
pub fn is_writer(end: &End, number: usize) -> bool {
    matches!(end, End::Pipe(_)) && number.is_multiple_of(2)
}
