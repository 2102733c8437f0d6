//! [`Turns`]: which of a worker's queues is read next.
//!
//! Queues that have packets are read in turn, a batch at a time: what one client sends as fast as it can waits in a queue of its own,
//! and another's packet waits for a batch of it at most.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// The queues of a worker, by number.
#[derive(Debug)]
pub(super) struct Turns {
    epoll: Epoll,
    /// A bit for each queue.
    all: u64,
    /// The bits of those that may have packets.
    ready: u64,
    /// The bit behind that of the queue that was read last; 64 behind the last one.
    next: u32,
}

impl Turns {
    /// The most queues that a worker can have.
    pub(super) const MOST: usize = 64;

    /// Starts with all of `queues` to be read, at most [`Self::MOST`]; a `wake` that is readable ends each wait.
    ///
    /// # Errors
    /// Too many files are open, or one of them cannot be waited for.
    pub(super) fn new<Q: AsFd>(
        queues: impl IntoIterator<Item = Q>,
        wake: impl AsFd,
    ) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut all = 0;
        for (number, queue) in (0..).zip(queues) {
            let bit = 1_u64.checked_shl(number);
            all |= bit.ok_or(io::ErrorKind::InvalidInput)?;
            epoll.add(queue, EpollEvent::new(EpollFlags::EPOLLIN, number.into()))?;
        }
        epoll.add(wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        Ok(Self {
            epoll,
            all,
            ready: all,
            next: 0,
        })
    }

    /// The number of the queue that is read next; `None` if none is known to have packets.
    pub(super) fn take(&mut self) -> Option<usize> {
        let behind = u64::MAX.checked_shl(self.next).unwrap_or(0);
        let turn = match self.ready & behind {
            0 => self.ready.trailing_zeros(),
            later => later.trailing_zeros(),
        };
        if turn == u64::BITS {
            return None;
        }
        self.next = turn + 1;
        Some(turn as usize)
    }

    /// Returns `true` if a queue may have packets.
    pub(super) fn has_any(&self) -> bool {
        self.ready != 0
    }

    /// Returns `true` if there is more than one queue.
    pub(super) fn are_several(&self) -> bool {
        self.all.count_ones() > 1
    }

    /// Notes that this queue has no packets, as far as is known.
    pub(super) fn is_empty(&mut self, queue: usize) {
        self.ready &= !(1 << queue);
    }

    /// Has every queue read, whatever is known of it.
    pub(super) fn read_all(&mut self) {
        self.ready = self.all;
    }

    /// Learns which queues have packets by now.
    ///
    /// # Errors
    /// The device is gone, or the kernel's error.
    pub(super) fn look(&mut self) -> io::Result<()> {
        self.wait_for(EpollTimeout::ZERO).map(drop)
    }

    /// Waits until a queue has packets or the wake-up is given, and for so many milliseconds at most; has every queue read when the
    /// time is over.
    ///
    /// # Errors
    /// The device is gone, or the kernel's error.
    pub(super) fn wait(&mut self, milliseconds: u8) -> io::Result<()> {
        if self.wait_for(milliseconds.into())? == 0 {
            self.read_all();
        }
        Ok(())
    }

    /// Returns the number of files that are ready.
    fn wait_for(&mut self, timeout: EpollTimeout) -> io::Result<usize> {
        let mut events = [EpollEvent::empty(); Self::MOST + 1];
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        for event in &events[..count] {
            if event.data() == WAKE {
                continue;
            }
            if event.events().contains(EpollFlags::EPOLLERR) {
                // The device was deleted: from here on the queue is always ready and empty.
                return Err(io::Error::from_raw_os_error(libc::EBADFD));
            }
            self.ready |= 1 << event.data();
        }
        Ok(count)
    }
}

/// The number of the file that ends a wait.
const WAKE: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use nix::sys::eventfd::EventFd;

    use super::*;

    #[test]
    fn queues_that_have_packets_are_read_in_turn() {
        let pairs: Vec<_> = (0..Turns::MOST)
            .map(|_| UnixDatagram::pair().expect("sockets"))
            .collect();
        let wake = EventFd::new().expect("an event file");
        let mut turns = Turns::new(pairs.iter().map(|it| &it.0), &wake).expect("files");
        // At the start nothing is known.
        let first: Vec<_> = (0..Turns::MOST + 2).map(|_| turns.take()).collect();
        assert_eq!(first[..3], [Some(0), Some(1), Some(2)]);
        assert_eq!(first[63..], [Some(63), Some(0), Some(1)]);
        for queue in 0..Turns::MOST {
            turns.is_empty(queue);
        }
        assert_eq!(turns.take(), None);

        let send = |queue: usize| pairs[queue].1.send(b"a").expect("room");
        for queue in [63, 5, 0] {
            send(queue);
        }
        turns.look().expect("it is open");
        let mut taken: Vec<_> = (0..4).map(|_| turns.take()).collect();
        assert_eq!(taken, [Some(5), Some(63), Some(0), Some(5)]);
        // One that comes later has its turn, though others never end.
        send(7);
        turns.look().expect("it is open");
        taken = (0..4).map(|_| turns.take()).collect();
        assert_eq!(taken, [Some(7), Some(63), Some(0), Some(5)]);
    }

    #[test]
    fn a_wait_ends_by_a_packet_a_wake_up_or_its_time() {
        let (queue, peer) = UnixDatagram::pair().expect("sockets");
        let wake = EventFd::new().expect("an event file");
        let mut turns = Turns::new([&queue], &wake).expect("files");
        assert!(!turns.are_several());
        let ready = |turns: &mut Turns| {
            let turn = turns.take();
            turns.is_empty(0);
            turn
        };
        assert_eq!(ready(&mut turns), Some(0));
        turns.wait(1).expect("it is open");
        assert_eq!(ready(&mut turns), Some(0), "at the end of its time");
        peer.send(b"a").expect("room");
        turns.wait(255).expect("it is open");
        assert_eq!(ready(&mut turns), Some(0), "by a packet");
        queue.recv(&mut [0; 10]).expect("it is there");
        wake.write(1).expect("room");
        turns.wait(255).expect("it is open");
        assert_eq!(ready(&mut turns), None, "by the wake-up");
    }
}
