//! Open descriptors travel between our processes as `SCM_RIGHTS` beside bytes of a Unix stream socket (unix(7)).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// Most descriptors the kernel carries with one message (`SCM_MAX_FD` of unix(7)).
const KERNEL_DESCRIPTORS_MAX: usize = 253;

/// What one [`receive_descriptors`] brought.
#[derive(Debug)]
pub struct Received {
    /// Bytes written to the start of the buffer; 0 when the peer closed its end (or the buffer is empty).
    pub byte_count: usize,
    /// Descriptors that came with the first of these bytes, in the peer's order. Closed on exec.
    pub descriptors: Vec<OwnedFd>,
}

/// Sends `bytes` with duplicates of `fds`, which arrive with the first byte.
///
/// Returns how many bytes were taken; when fewer than all, the rest must follow without descriptors. Blocks as the
/// socket does, and never raises `SIGPIPE`.
///
/// # Errors
/// `InvalidInput` for descriptors without a byte to carry them or for more than 253 of them, `WouldBlock` on a full
/// non-blocking socket, `BrokenPipe` when the peer is gone, else what sendmsg(2) says.
pub fn send_descriptors(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    if fds.len() > KERNEL_DESCRIPTORS_MAX || (bytes.is_empty() && !fds.is_empty()) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut control = ControlBuffer::with_room_for(fds.len());
    let mut piece = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut message = empty_message(&mut piece);
    if !fds.is_empty() {
        control.attach(&mut message);
        write_rights(&message, fds);
    }
    retry_interrupted(|| {
        // SAFETY: `message` points at `piece` (which covers `bytes`, only read) and at `control`; all three outlive
        // the call, and `control` holds one whole header with its descriptors.
        unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) }
    })
}

/// Receives bytes into `buffer` and at most `descriptors_max` descriptors that travel with them.
///
/// Blocks as the socket does. A descriptor that arrives is owned by the result from the first moment on; on an error
/// none stays open.
///
/// # Errors
/// `InvalidData` when the peer attached more than `descriptors_max` or this process has no room for them (some were
/// lost, so the conversation cannot go on), `WouldBlock` when nothing waits on a non-blocking socket, else what
/// recvmsg(2) says.
pub fn receive_descriptors(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors_max: usize,
) -> io::Result<Received> {
    let mut control = ControlBuffer::with_room_for(descriptors_max.min(KERNEL_DESCRIPTORS_MAX));
    let mut piece = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let mut message = empty_message(&mut piece);
    if descriptors_max > 0 {
        control.attach(&mut message);
    }
    let byte_count = retry_interrupted(|| {
        // SAFETY: `message` points at `piece` (which covers `buffer`, exclusively borrowed) and at `control`; all
        // three outlive the call, and their stated lengths are their real ones.
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) }
    })?;
    let descriptors = take_rights(&message);
    if message.msg_flags & libc::MSG_CTRUNC != 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Received {
        byte_count,
        descriptors,
    })
}

/// Space for one `SCM_RIGHTS` header, aligned as `cmsghdr` wants it.
struct ControlBuffer {
    words: Vec<u64>,
    byte_count: usize,
}

impl ControlBuffer {
    /// Room for exactly `descriptor_count`: `CMSG_LEN`, since the padding of `CMSG_SPACE` would hold one more.
    fn with_room_for(descriptor_count: usize) -> Self {
        let payload = u32::try_from(descriptor_count * size_of::<RawFd>()).unwrap_or(u32::MAX);
        // SAFETY: arithmetic only, no memory is touched.
        let byte_count = unsafe { libc::CMSG_LEN(payload) } as usize;
        Self {
            words: vec![0; byte_count.div_ceil(size_of::<u64>())],
            byte_count,
        }
    }

    fn attach(&mut self, message: &mut libc::msghdr) {
        message.msg_control = self.words.as_mut_ptr().cast();
        // `as _`: the field is `usize` with glibc and `u32` with musl; the value is at most a kilobyte.
        message.msg_controllen = self.byte_count as _;
    }
}

/// A message of one piece, without address or control part.
fn empty_message(piece: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: `msghdr` is a C struct of integers and pointers, for which all zeros is a value (and musl's has
    // private padding, so it cannot be written out).
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = piece;
    message.msg_iovlen = 1;
    message
}

/// Writes the one header with `fds` into the control part of `message`.
fn write_rights(message: &libc::msghdr, fds: &[BorrowedFd<'_>]) {
    let payload = u32::try_from(size_of_val(fds)).unwrap_or(u32::MAX);
    // SAFETY: arithmetic only, no memory is touched.
    let length = unsafe { libc::CMSG_LEN(payload) };
    // SAFETY: only reads fields of `message`.
    let header = unsafe { libc::CMSG_FIRSTHDR(message) };
    assert!(
        !header.is_null(),
        "the control part was made with room for a header"
    );
    // SAFETY: `header` is the aligned start of a control buffer made with room for this header.
    let fields = unsafe { &mut *header };
    fields.cmsg_level = libc::SOL_SOCKET;
    fields.cmsg_type = libc::SCM_RIGHTS;
    fields.cmsg_len = length as _;
    // SAFETY: pointer arithmetic inside the control buffer.
    let data = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: the buffer was made with room for `fds.len()` descriptors behind the header; `BorrowedFd` is
    // `repr(transparent)` over `RawFd`; source and target do not overlap.
    unsafe { ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), data, size_of_val(fds)) };
}

/// Takes ownership of each descriptor in the control part that recvmsg filled.
fn take_rights(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut descriptors = Vec::new();
    // SAFETY: only reads fields of `message`, whose control length the kernel set to what it wrote.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: non-null headers of `CMSG_FIRSTHDR` and `CMSG_NXTHDR` lie whole inside the control buffer.
        let fields = unsafe { &*header };
        if fields.cmsg_level == libc::SOL_SOCKET && fields.cmsg_type == libc::SCM_RIGHTS {
            // SAFETY: arithmetic only, no memory is touched.
            let head_bytes = unsafe { libc::CMSG_LEN(0) } as usize;
            // SAFETY: pointer arithmetic inside the control buffer.
            let data = unsafe { libc::CMSG_DATA(header) };
            let payload = (fields.cmsg_len as usize).saturating_sub(head_bytes);
            for index in 0..payload / size_of::<RawFd>() {
                // SAFETY: `index` counts whole descriptors inside the payload the kernel wrote.
                let place = unsafe { data.add(index * size_of::<RawFd>()) };
                // SAFETY: `place` covers four readable bytes of the payload; alignment is not assumed.
                let raw = unsafe { place.cast::<RawFd>().read_unaligned() };
                // SAFETY: the kernel made this descriptor for us with this call; nobody else owns it.
                descriptors.push(unsafe { OwnedFd::from_raw_fd(raw) });
            }
        }
        // SAFETY: `header` lies inside the control part of `message`.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    descriptors
}

fn retry_interrupted(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        if let Ok(count) = usize::try_from(call()) {
            return Ok(count);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    fn file_with(text: &str) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.rewind().unwrap();
        file
    }

    fn pass(count: usize, descriptors_max: usize) -> io::Result<Received> {
        let (a, b) = UnixStream::pair()?;
        let files: Vec<File> = (0..count).map(|n| file_with(&n.to_string())).collect();
        let borrowed: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        assert_eq!(send_descriptors(a.as_fd(), b"hello", &borrowed)?, 5);
        let mut buffer = [0; 16];
        let received = receive_descriptors(b.as_fd(), &mut buffer, descriptors_max)?;
        assert_eq!(&buffer[..received.byte_count], b"hello");
        Ok(received)
    }

    #[test]
    fn descriptors_arrive_in_order_and_are_closed_on_exec() {
        for count in [0, 1, 2, 3, 16, KERNEL_DESCRIPTORS_MAX] {
            let received = pass(count, KERNEL_DESCRIPTORS_MAX).unwrap();
            assert_eq!(received.descriptors.len(), count);
            for (n, descriptor) in received.descriptors.into_iter().enumerate() {
                // SAFETY: asks a flag of an open descriptor.
                let flags = unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_GETFD) };
                assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
                let mut text = String::new();
                File::from(descriptor).read_to_string(&mut text).unwrap();
                assert_eq!(text, n.to_string());
            }
        }
    }

    #[test]
    fn as_many_as_allowed_pass_and_one_more_ends_the_conversation() {
        for max in [1, 2, 3, 16] {
            assert_eq!(pass(max, max).unwrap().descriptors.len(), max);
            assert_eq!(pass(max + 1, max).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        assert_eq!(pass(1, 0).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(pass(0, 0).is_ok());
    }

    #[test]
    fn nothing_to_read_on_a_non_blocking_socket_is_would_block() {
        let (_a, b) = UnixStream::pair().unwrap();
        b.set_nonblocking(true).unwrap();
        let error = receive_descriptors(b.as_fd(), &mut [0; 4], 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_closed_peer_is_zero_bytes_for_the_reader_and_a_broken_pipe_for_the_writer() {
        let (a, b) = UnixStream::pair().unwrap();
        drop(a);
        assert_eq!(
            receive_descriptors(b.as_fd(), &mut [0; 4], 1).unwrap().byte_count,
            0
        );
        let error = send_descriptors(b.as_fd(), b"x", &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn descriptors_without_a_byte_are_refused() {
        let (a, _b) = UnixStream::pair().unwrap();
        let error = send_descriptors(a.as_fd(), b"", &[a.as_fd()]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_message_longer_than_the_socket_holds_brings_its_descriptors_with_the_first_piece() {
        let (a, b) = UnixStream::pair().unwrap();
        a.set_nonblocking(true).unwrap();
        let long = vec![7; 8 * 1024 * 1024];
        let sent = send_descriptors(a.as_fd(), &long, &[a.as_fd()]).unwrap();
        assert!(sent > 0 && sent < long.len());
        let first = receive_descriptors(b.as_fd(), &mut vec![0; 1024], 1).unwrap();
        assert_eq!((first.byte_count, first.descriptors.len()), (1024, 1));
        let second = receive_descriptors(b.as_fd(), &mut vec![0; 1024], 1).unwrap();
        assert_eq!((second.byte_count, second.descriptors.len()), (1024, 0));
    }
}
