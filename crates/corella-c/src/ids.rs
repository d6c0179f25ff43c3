//! Ids: what C holds. A number in the shape of a pointer that packs kind, scheduler, index and generation, and is
//! never dereferenced.

/// Names a scheduler. A number, never dereferenced; it and everything made with it belong to one thread.
pub type Scheduler = *mut SchedulerId;
/// Names a file, pipe, terminal, socket, listener or directory of a scheduler.
pub type Handle = *mut HandleId;
/// Names a request: an operation that has not begun, runs, or has settled.
pub type Request = *mut RequestId;
/// Names bytes that the library owns.
pub type Buffer = *mut BufferId;
/// Names a bounded pool of equal buffers.
pub type Pool = *mut PoolId;
/// Names settings for a new scheduler. Not bound to a thread.
pub type Settings = *mut SettingsId;
/// Names a cancel token. Not bound to a thread.
pub type Token = *mut TokenId;
/// Names a scheduler for other threads. Not bound to a thread.
pub type Remote = *mut RemoteId;
/// Names a connection between two schedulers. Not bound to a thread.
pub type Detached = *mut DetachedId;

pub struct SchedulerId(());
pub struct HandleId(());
pub struct RequestId(());
pub struct BufferId(());
pub struct PoolId(());
pub struct SettingsId(());
pub struct TokenId(());
pub struct RemoteId(());
pub struct DetachedId(());

/// What an id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Scheduler = 1,
    Handle,
    Request,
    Buffer,
    Pool,
    Settings,
    Token,
    Remote,
    Detached,
}

/// Types that name something.
pub(crate) trait Named {
    const KIND: Kind;
}

macro_rules! named {
    ($($type:ident: $kind:ident),*) => {$(
        impl Named for $type {
            const KIND: Kind = Kind::$kind;
        }
    )*};
}

named!(SchedulerId: Scheduler, HandleId: Handle, RequestId: Request, BufferId: Buffer, PoolId: Pool,
    SettingsId: Settings, TokenId: Token, RemoteId: Remote, DetachedId: Detached);

/// The widths of an id's fields, in bits. On machines with small pointers a number comes round sooner, and there a
/// stale id may be taken for a new one after as many reuses of one place as the generation counts.
#[cfg(target_pointer_width = "64")]
mod width {
    pub(super) const SCHEDULER: u32 = 10;
    pub(super) const INDEX: u32 = 21;
    pub(super) const GENERATION: u32 = 29;
}
#[cfg(not(target_pointer_width = "64"))]
mod width {
    pub(super) const SCHEDULER: u32 = 4;
    pub(super) const INDEX: u32 = 12;
    pub(super) const GENERATION: u32 = 12;
}
const KIND_BITS: u32 = 4;

/// Schedulers of a process at once.
pub(crate) const SCHEDULERS_MAX: usize = (1 << width::SCHEDULER) - 1;
/// Things of one kind at once, of one scheduler.
pub(crate) const INDEX_MAX: u32 = (1 << width::INDEX) - 1;
pub(crate) const GENERATION_MASK: u32 = (1 << width::GENERATION) - 1;

/// An id taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// The scheduler's number from 1 on; 0 for what belongs to no scheduler.
    pub(crate) scheduler: u32,
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl Key {
    /// The id as C sees it.
    #[inline]
    pub(crate) fn id<T: Named>(self) -> *mut T {
        let number = ((((self.generation as usize) << width::INDEX | self.index as usize) << width::SCHEDULER
            | self.scheduler as usize)
            << KIND_BITS)
            | T::KIND as usize;
        std::ptr::without_provenance_mut(number)
    }

    /// Takes an id apart; `None` if it is null or of another kind.
    #[inline]
    pub(crate) fn of<T: Named>(id: *mut T) -> Option<Key> {
        let number = id.addr();
        if number & ((1 << KIND_BITS) - 1) != T::KIND as usize {
            return None;
        }
        let number = number >> KIND_BITS;
        Some(Key {
            scheduler: (number & ((1 << width::SCHEDULER) - 1)) as u32,
            index: (number >> width::SCHEDULER) as u32 & INDEX_MAX,
            generation: (number >> (width::SCHEDULER + width::INDEX)) as u32 & GENERATION_MASK,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_comes_apart_as_it_was_put_together() {
        let key = Key { scheduler: SCHEDULERS_MAX as u32, index: INDEX_MAX, generation: GENERATION_MASK };
        assert_eq!(Key::of(key.id::<RequestId>()), Some(key));
        let key = Key { scheduler: 1, index: 0, generation: 1 };
        assert_eq!(Key::of(key.id::<HandleId>()), Some(key));
    }

    #[test]
    fn an_id_of_another_kind_is_none() {
        let key = Key { scheduler: 1, index: 2, generation: 3 };
        assert_eq!(Key::of(key.id::<HandleId>().cast::<RequestId>()), None);
        assert_eq!(Key::of(std::ptr::null_mut::<RequestId>()), None);
    }
}
