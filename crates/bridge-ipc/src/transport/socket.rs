//! One message in, one message out.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socket_with,
};

/// A socket that is not connected.
pub(super) fn new_socket() -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

/// Result of one receive.
#[derive(Debug)]
pub(super) enum Incoming {
    /// Nothing now.
    Nothing,
    /// The peer has closed its end.
    End,
    /// The bytes or the descriptors were more than there is room for. Those that came are closed.
    Cut(&'static str),
    /// So many bytes.
    Bytes(usize, Vec<OwnedFd>),
}

/// Receives without blocking. Every descriptor that comes is owned at once, close-on-exec; where
/// none is to come, none is made, since closing what a peer has chosen may block.
pub(super) fn receive(socket: impl AsFd, bytes: &mut [u8], takes_descriptors: bool) -> rustix::io::Result<Incoming> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let room = if takes_descriptors { &mut space[..] } else { &mut [] };
    let mut control = RecvAncillaryBuffer::new(room);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(bytes)], &mut control, flags) {
            // A reset is told once, before what the peer sent: it closed its end without having
            // read everything. What it sent is still there, and then the end.
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
        // There was room for one. Where this process can have no more, that is no fault of the
        // peer's.
        if let Err(full @ (Errno::MFILE | Errno::NFILE)) = fcntl_dupfd_cloexec(&socket, 0) {
            return Err(full);
        }
    }
    Ok(if received.flags.contains(ReturnFlags::CTRUNC) {
        Incoming::Cut("descriptors")
    } else if received.flags.contains(ReturnFlags::TRUNC) {
        Incoming::Cut("bytes")
    } else if received.bytes == 0 {
        Incoming::End
    } else {
        Incoming::Bytes(received.bytes, descriptors)
    })
}

/// What a socket has to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing now. A message that comes from here on was not looked at.
    Nothing,
    /// A message with descriptors.
    Carries,
    /// A message without, the end, or an error, which the receive tells.
    Other,
}

/// Looks at the next message. It stays where it is, and its descriptors with it: this lets go of
/// none that is the last of its kind.
pub(super) fn peek(socket: impl AsFd) -> Next {
    let flags = RecvFlags::PEEK | RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(&mut [])], &mut RecvAncillaryBuffer::new(&mut []), flags) {
            // A reset is told once, as in `receive`: the message behind it was not looked at.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Err(Errno::AGAIN) => return Next::Nothing,
            Ok(next) if next.flags.contains(ReturnFlags::CTRUNC) => return Next::Carries,
            Ok(_) | Err(_) => return Next::Other,
        }
    }
}

/// Sends without blocking. False where there is no room now.
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
