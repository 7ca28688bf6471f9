//! Sending and receiving single messages on a socket.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socket_with,
};

/// Creates an unconnected socket.
pub(super) fn new_socket() -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

/// Result of one receive.
#[derive(Debug)]
pub(super) enum Incoming {
    /// Nothing is available now.
    Nothing,
    /// The peer has closed its end.
    End,
    /// The bytes or the descriptors exceeded the available room. The received descriptors are
    /// closed.
    Truncated(&'static str),
    /// Number of bytes, and the descriptors.
    Bytes(usize, Vec<OwnedFd>),
}

/// Receives without blocking. Every received descriptor is owned at once, close-on-exec. If
/// descriptors are not expected, none is installed in this process, since closing an object that
/// the peer has chosen may block.
pub(super) fn receive(socket: impl AsFd, bytes: &mut [u8], takes_descriptors: bool) -> rustix::io::Result<Incoming> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let room = if takes_descriptors { &mut space[..] } else { &mut [] };
    let mut control = RecvAncillaryBuffer::new(room);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(bytes)], &mut control, flags) {
            // A reset is reported once, before the peer's remaining messages: the peer closed its
            // end without having read everything. Its messages are still available, followed by the
            // end.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Err(Errno::AGAIN) => return Ok(Incoming::Nothing),
            Err(error) => return Err(error),
            Ok(received) => break received,
        }
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) && takes_descriptors && descriptors.is_empty() {
        // There was room for one descriptor in the buffer. If this process has reached its own
        // limit, the peer is not at fault.
        if let Err(full @ (Errno::MFILE | Errno::NFILE)) = fcntl_dupfd_cloexec(&socket, 0) {
            return Err(full);
        }
    }
    Ok(if received.flags.contains(ReturnFlags::CTRUNC) {
        Incoming::Truncated("descriptors")
    } else if received.flags.contains(ReturnFlags::TRUNC) {
        Incoming::Truncated("bytes")
    } else if received.bytes == 0 {
        Incoming::End
    } else {
        Incoming::Bytes(received.bytes, descriptors)
    })
}

/// Kind of the next message in a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing is available now. A message that arrives later was not inspected.
    Nothing,
    /// A message with descriptors.
    WithDescriptors,
    /// A message without descriptors, the end, or an error that the receive reports.
    Other,
}

/// Inspects the next message without removing it. Its descriptors stay in the socket, so no last
/// reference to an object is closed.
pub(super) fn peek(socket: impl AsFd) -> Next {
    let flags = RecvFlags::PEEK | RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(&mut [])], &mut RecvAncillaryBuffer::new(&mut []), flags) {
            // A reset is reported once, as in `receive`: the message after it was not inspected
            // yet.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Err(Errno::AGAIN) => return Next::Nothing,
            Ok(next) if next.flags.contains(ReturnFlags::CTRUNC) => return Next::WithDescriptors,
            Ok(_) | Err(_) => return Next::Other,
        }
    }
}

/// Sends without blocking. Returns `false` if there is no room now.
pub(super) fn send(socket: impl AsFd, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> rustix::io::Result<bool> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let rights = descriptor.map(|descriptor| [descriptor]);
    if let Some(rights) = &rights
        && !control.push(SendAncillaryMessage::ScmRights(rights))
    {
        return Err(Errno::NOBUFS);
    }
    loop {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, flags) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(false),
            other => return other.map(|_| true),
        }
    }
}
