//! What the codes of ended requests mean.
//!
//! A reset is an error and never an orderly end; what did not fit is reported with its size; what was cancelled says so.

use super::blocks::Call;
use super::port::*;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// So many bytes were moved; for reads, none is the end.
    Moved(u32),
    /// So many bytes of a datagram found room, and there were more.
    Cut(u32),
    /// It was cancelled, with nothing moved.
    Aborted,
    Failed(Code),
}

/// What the system says of an ended request.
pub(super) fn judge(call: Call, code: Code, count: u32) -> Ended {
    match (call, code) {
        (_, 0) => Ended::Moved(count),
        // What was moved before the cancel was moved.
        (_, ERROR_OPERATION_ABORTED) if count > 0 => Ended::Moved(count),
        // The rest is refused for the same reason when it is handed over.
        (Call::Write | Call::Send, _) if count > 0 => Ended::Moved(count),
        (_, ERROR_OPERATION_ABORTED) => Ended::Aborted,
        (Call::Read, ERROR_HANDLE_EOF) => Ended::Moved(0),
        // The other side has closed its end of the pipe, and all that it wrote has been read.
        (Call::Read, ERROR_BROKEN_PIPE) => Ended::Moved(0),
        // A part of a pipe's message: the rest comes with the next read.
        (Call::Read, ERROR_MORE_DATA) => Ended::Moved(count),
        // A part of a datagram, whose rest is gone.
        (Call::ReceiveFrom, ERROR_MORE_DATA | WSAEMSGSIZE) => Ended::Cut(count),
        (call, code) if call.is_of_socket() => Ended::Failed(as_winsock(code)),
        (_, code) => Ended::Failed(code),
    }
}

/// A packet has the status of the driver, which Win32 puts into its own words; a socket's has others for it.
fn as_winsock(code: Code) -> Code {
    match code {
        ERROR_NETNAME_DELETED | ERROR_PORT_UNREACHABLE => WSAECONNRESET,
        ERROR_CONNECTION_REFUSED => WSAECONNREFUSED,
        ERROR_CONNECTION_ABORTED => WSAECONNABORTED,
        ERROR_CONNECTION_INVALID => WSAENOTCONN,
        ERROR_NETWORK_UNREACHABLE => WSAENETUNREACH,
        ERROR_HOST_UNREACHABLE => WSAEHOSTUNREACH,
        ERROR_SEM_TIMEOUT => WSAETIMEDOUT,
        ERROR_ADDRESS_ALREADY_ASSOCIATED => WSAEADDRINUSE,
        ERROR_MORE_DATA | ERROR_INVALID_USER_BUFFER => WSAEMSGSIZE,
        code => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_an_error_and_never_an_end() {
        for call in [Call::Receive, Call::Send] {
            assert_eq!(judge(call, ERROR_NETNAME_DELETED, 0), Ended::Failed(WSAECONNRESET));
            assert_eq!(judge(call, WSAECONNRESET, 0), Ended::Failed(WSAECONNRESET));
            assert_eq!(judge(call, ERROR_CONNECTION_ABORTED, 0), Ended::Failed(WSAECONNABORTED));
        }
        assert_eq!(judge(Call::Receive, 0, 0), Ended::Moved(0));
        // A pipe whose server has thrown everything away has not ended.
        assert_eq!(judge(Call::Read, ERROR_PIPE_NOT_CONNECTED, 0), Ended::Failed(ERROR_PIPE_NOT_CONNECTED));
    }

    #[test]
    fn the_end_of_a_file_or_pipe_is_no_error_to_a_read_and_one_to_a_write() {
        assert_eq!(judge(Call::Read, ERROR_HANDLE_EOF, 0), Ended::Moved(0));
        assert_eq!(judge(Call::Read, ERROR_BROKEN_PIPE, 0), Ended::Moved(0));
        assert_eq!(judge(Call::Write, ERROR_BROKEN_PIPE, 0), Ended::Failed(ERROR_BROKEN_PIPE));
        assert_eq!(judge(Call::Write, ERROR_NO_DATA, 0), Ended::Failed(ERROR_NO_DATA));
    }

    #[test]
    fn a_message_that_did_not_fit_is_reported_with_its_size() {
        assert_eq!(judge(Call::Read, ERROR_MORE_DATA, 10), Ended::Moved(10));
        assert_eq!(judge(Call::ReceiveFrom, ERROR_MORE_DATA, 10), Ended::Cut(10));
        assert_eq!(judge(Call::SendTo, ERROR_MORE_DATA, 0), Ended::Failed(WSAEMSGSIZE));
    }

    #[test]
    fn what_was_moved_before_a_cancel_was_moved() {
        for call in [Call::Read, Call::Write, Call::Receive, Call::Send] {
            assert_eq!(judge(call, ERROR_OPERATION_ABORTED, 7), Ended::Moved(7));
            assert_eq!(judge(call, ERROR_OPERATION_ABORTED, 0), Ended::Aborted);
        }
    }
}
