//! Things with numbers that are given anew once they are free, and serials that count how often: who remembers both finds
//! out when the number has come to mean something else.

#[derive(Debug)]
pub(crate) struct Slab<T> {
    /// Each number's serial, and what it stands for.
    entries: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
    serial_max: u32,
}

/// A number and its serial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    pub(crate) number: u32,
    pub(crate) serial: u32,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab::with_serials(u32::MAX)
    }
}

impl<T> Slab<T> {
    /// One whose serials begin anew behind `serial_max`, which is a power of two less one.
    pub(crate) fn with_serials(serial_max: u32) -> Self {
        Slab {
            entries: Vec::new(),
            free: Vec::new(),
            serial_max,
        }
    }

    /// An empty one that knows nothing by the numbers and serials of this one.
    pub(crate) fn successor(&self) -> Self {
        let serials = self
            .entries
            .iter()
            .map(|(serial, _)| (serial.wrapping_add(1) & self.serial_max, None));
        Slab {
            entries: serials.collect(),
            free: (0..self.entries.len() as u32).rev().collect(),
            serial_max: self.serial_max,
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> Id {
        let number = self.free.pop().unwrap_or_else(|| {
            self.entries.push((0, None));
            (self.entries.len() - 1) as u32
        });
        let entry = &mut self.entries[number as usize];
        entry.1 = Some(value);
        Id {
            number,
            serial: entry.0,
        }
    }

    #[inline]
    pub(crate) fn get(&self, id: Id) -> Option<&T> {
        let (serial, value) = self.entries.get(id.number as usize)?;
        value.as_ref().filter(|_| *serial == id.serial)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        let (serial, value) = self.entries.get_mut(id.number as usize)?;
        value.as_mut().filter(|_| *serial == id.serial)
    }

    pub(crate) fn remove(&mut self, id: Id) -> Option<T> {
        self.get(id)?;
        let (serial, value) = &mut self.entries[id.number as usize];
        *serial = serial.wrapping_add(1) & self.serial_max;
        self.free.push(id.number);
        value.take()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        let entries = self.entries.iter().enumerate();
        entries.filter_map(|(number, (serial, value))| Some((Id::of(number, *serial), value.as_ref()?)))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Id, &mut T)> {
        let entries = self.entries.iter_mut().enumerate();
        entries.filter_map(|(number, (serial, value))| Some((Id::of(number, *serial), value.as_mut()?)))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}

impl Id {
    fn of(number: usize, serial: u32) -> Self {
        Id {
            number: number as u32,
            serial,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_given_anew_is_another() {
        let mut slab = Slab::with_serials(1);
        let first = slab.insert("a");
        assert_eq!(slab.remove(first), Some("a"));
        let second = slab.insert("b");
        assert_eq!(
            (second.number, slab.get(first), slab.get(second)),
            (first.number, None, Some(&"b"))
        );
        let mut next = slab.successor();
        let third = next.insert("c");
        assert_eq!(
            (third.number, next.get(second), next.len()),
            (first.number, None, 1)
        );
    }
}
