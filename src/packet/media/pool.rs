//! [`Pool`]: memory that flows borrow while they are examined.

/// A pool of memory that flows borrow while they are examined, reused in order of allocation.
#[derive(Debug)]
pub(super) struct Pool<T> {
    slots: Vec<Slot<T>>,
    taken: u32,
}

#[derive(Debug, Clone, Copy)]
struct Slot<T> {
    ticket: Ticket,
    owner: u32,
    value: T,
}

/// The claim of a flow to a slot of a pool, which may since belong to another flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u32);

impl Ticket {
    pub(super) const NONE: Self = Self(0);

    pub(super) fn is_none(self) -> bool {
        self == Self::NONE
    }
}

impl<T: Copy> Pool<T> {
    /// A power of two of slots.
    pub(super) fn new(slots: usize, value: T) -> Self {
        let empty = Slot {
            ticket: Ticket::NONE,
            owner: 0,
            value,
        };
        Self {
            slots: vec![empty; slots.next_power_of_two()],
            taken: 0,
        }
    }

    /// The value that the flow `owner` holds `ticket` for.
    pub(super) fn get(&mut self, ticket: Ticket, owner: u32) -> Option<&mut T> {
        let at = self.at(ticket);
        let slot = &mut self.slots[at];
        (!ticket.is_none() && slot.ticket == ticket && slot.owner == owner)
            .then_some(&mut slot.value)
    }

    /// Like [`get`](Self::get); if there is none, takes a slot, sets it to a fresh value, and updates `ticket`.
    pub(super) fn get_or_take(
        &mut self,
        ticket: &mut Ticket,
        owner: u32,
        fresh: impl Fn() -> T,
    ) -> &mut T {
        if self.get(*ticket, owner).is_none() {
            self.taken = self.taken.wrapping_add(1).max(1);
            *ticket = Ticket(self.taken);
            let at = self.at(*ticket);
            self.slots[at] = Slot {
                ticket: *ticket,
                owner,
                value: fresh(),
            };
        }
        let at = self.at(*ticket);
        &mut self.slots[at].value
    }

    fn at(&self, ticket: Ticket) -> usize {
        ticket.0 as usize & (self.slots.len() - 1)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot<T>>()
    }
}
