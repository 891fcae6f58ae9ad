//! Lists that borrow: a checked piece of the wire, or a slice of the caller's.

use core::fmt;

use super::read::{Cursor, Fault};
use super::write::Emit;

/// What can stand in a [`List`].
pub trait Element<'b>: Copy + PartialEq + fmt::Debug {
    /// Elements stand next to each other without a space, as addresses and body parts do.
    const ADJACENT: bool = false;
    /// Reads one element.
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault>;
    /// Writes one element.
    fn emit(&self, e: &mut Emit<'_>);
    /// Whether a space stands between this element and `next`.
    fn spaced(&self, next: &Self) -> bool {
        let _ = next;
        !Self::ADJACENT
    }
}

/// A list of `T`, borrowed. Lists are equal when their elements are.
#[derive(Clone, Copy)]
pub struct List<'b, T>(Repr<'b, T>);

#[derive(Clone, Copy)]
enum Repr<'b, T> {
    /// Elements and the spaces between them, read once before without a fault.
    Wire(&'b [u8]),
    Items(&'b [T]),
}

impl<'b, T> List<'b, T> {
    /// The list of these elements.
    pub const fn of(items: &'b [T]) -> Self {
        List(Repr::Items(items))
    }

    /// The empty list.
    pub const fn empty() -> Self {
        List(Repr::Items(&[]))
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        match self.0 {
            Repr::Wire(wire) => wire.is_empty(),
            Repr::Items(items) => items.is_empty(),
        }
    }
}

impl<'b, T: Element<'b>> List<'b, T> {
    /// The elements in order.
    pub fn iter(&self) -> ListIter<'b, T> {
        ListIter(match self.0 {
            Repr::Wire(wire) => Source::Wire(Cursor::new(wire, true)),
            Repr::Items(items) => Source::Items(items.iter()),
        })
    }

    /// How many elements there are; reads them all.
    pub fn len(&self) -> usize {
        match self.0 {
            Repr::Wire(_) => self.iter().count(),
            Repr::Items(items) => items.len(),
        }
    }

    /// Whether `wanted` is among the elements.
    pub fn contains(&self, wanted: &T) -> bool {
        self.iter().any(|t| t == *wanted)
    }

    /// `"(" [element *(SP element)] ")"`, at most `max` elements.
    pub(super) fn read(c: &mut Cursor<'b>, max: usize) -> Result<Self, Fault> {
        c.expect(b'(', "a list in parentheses")?;
        if c.eat(b')') {
            return Ok(List::empty());
        }
        let start = *c;
        let count = Self::read_elements(c, max)?;
        let end = *c;
        if c.eat(b')') {
            return Ok(List(Repr::Wire(end.since(start))));
        }
        Err(if count == max {
            Fault::Limit("elements of a list")
        } else {
            Fault::Expected("the end of a list")
        })
    }

    /// Like [`List::read`], and the list has at least one element.
    pub(super) fn read_some(c: &mut Cursor<'b>, max: usize) -> Result<Self, Fault> {
        let list = Self::read(c, max)?;
        if list.is_empty() { Err(Fault::Expected("a list that is not empty")) } else { Ok(list) }
    }

    /// `element *(SP element)` without parentheses.
    pub(super) fn read_bare(c: &mut Cursor<'b>, max: usize) -> Result<Self, Fault> {
        let start = *c;
        Self::read_elements(c, max)?;
        Ok(List(Repr::Wire(c.since(start))))
    }

    /// Elements as they stand in `wire`, which the caller has read without a fault before.
    pub(super) const fn from_checked(wire: &'b [u8]) -> Self {
        List(Repr::Wire(wire))
    }

    /// Reads one element or more, and no more than `max`; how many there were.
    fn read_elements(c: &mut Cursor<'b>, max: usize) -> Result<usize, Fault> {
        T::read(c)?;
        let mut count = 1;
        while count < max {
            let before = *c;
            // Some servers put a space where the grammar has none.
            if !c.eat(b' ') && !T::ADJACENT {
                break;
            }
            // A space that no element follows belongs to whoever reads next.
            if c.peek().is_none_or(|b| b == b')') || T::ADJACENT && c.peek() != Some(b'(') {
                *c = before;
                break;
            }
            T::read(c)?;
            count += 1;
        }
        Ok(count)
    }

    /// Writes the elements with spaces between them.
    pub(super) fn emit_bare(&self, e: &mut Emit<'_>) {
        let mut last: Option<T> = None;
        for item in self.iter() {
            if last.is_some_and(|last| last.spaced(&item)) {
                e.push(b" ");
            }
            item.emit(e);
            last = Some(item);
        }
    }

    /// Writes the list in parentheses.
    pub(super) fn emit(&self, e: &mut Emit<'_>) {
        e.push(b"(");
        self.emit_bare(e);
        e.push(b")");
    }
}

impl<T> Default for List<'_, T> {
    fn default() -> Self {
        List::empty()
    }
}

impl<'b, T: Element<'b>> List<'b, T> {
    /// `NIL` or a list in parentheses that is not empty.
    pub(super) fn read_or_nil(c: &mut Cursor<'b>, max: usize) -> Result<Self, Fault> {
        if c.eat_word(b"NIL") { Ok(List::empty()) } else { Self::read(c, max) }
    }

    /// `NIL` for the empty list.
    pub(super) fn emit_or_nil(&self, e: &mut Emit<'_>) {
        if self.is_empty() { e.push(b"NIL") } else { self.emit(e) }
    }
}

impl<'b, T: Element<'b>> PartialEq for List<'b, T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'b, T: Element<'b> + Eq> Eq for List<'b, T> {}

impl<'b, T: Element<'b>> fmt::Debug for List<'b, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'b, T: Element<'b>> IntoIterator for List<'b, T> {
    type Item = T;
    type IntoIter = ListIter<'b, T>;
    fn into_iter(self) -> ListIter<'b, T> {
        self.iter()
    }
}

/// The elements of a [`List`].
#[derive(Clone)]
pub struct ListIter<'b, T>(Source<'b, T>);

#[derive(Clone)]
enum Source<'b, T> {
    Wire(Cursor<'b>),
    Items(core::slice::Iter<'b, T>),
}

impl<'b, T: Element<'b>> Iterator for ListIter<'b, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match &mut self.0 {
            Source::Items(items) => items.next().copied(),
            Source::Wire(c) => {
                if c.is_empty() {
                    return None;
                }
                // The wire was read without a fault when the list was made, so none can come now.
                let item = T::read(c).ok();
                c.eat(b' ');
                item
            }
        }
    }
}

/// An atom: a name such as a capability or a mechanism.
#[derive(Clone, Copy, Debug)]
pub struct Atom<'b>(pub &'b str);

impl PartialEq for Atom<'_> {
    /// Names are compared without letter case.
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(other.0)
    }
}

impl Eq for Atom<'_> {}

impl<'b> Element<'b> for Atom<'b> {
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        c.atom().map(Atom)
    }
    fn emit(&self, e: &mut Emit<'_>) {
        e.push(self.0.as_bytes());
    }
}

impl<'b> Element<'b> for u32 {
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        c.nz_number()
    }
    fn emit(&self, e: &mut Emit<'_>) {
        e.number(u64::from(*self));
    }
}
