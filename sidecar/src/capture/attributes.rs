//! Netlink attributes (type, length, value): written, and read back with every length checked.

/// Netlink attributes, one after another.
#[derive(Debug, Default)]
pub(super) struct Attributes(pub(super) Vec<u8>);

impl Attributes {
    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) {
        let len = u16::try_from(ATTRIBUTE_HEADER_LEN + value.len()).expect("a rule's attributes are far below 64 KiB");
        self.0.extend(len.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    pub(super) fn text(&mut self, kind: u16, value: &str) {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat());
    }

    pub(super) fn number(&mut self, kind: u16, value: i32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.bytes(kind | NESTED, &inner.0);
    }
}

/// Reads attributes one after another; ends at the first that does not fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

/// One attribute as read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute<'a> {
    pub(super) kind: u16,
    pub(super) nested: bool,
    pub(super) value: &'a [u8],
}

impl<'a> Iterator for Reader<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let (header, _) = self.0.split_first_chunk::<ATTRIBUTE_HEADER_LEN>()?;
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]);
        let value = self.0.get(ATTRIBUTE_HEADER_LEN..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(Attribute { kind: kind & !(NESTED | NET_BYTE_ORDER), nested: kind & NESTED != 0, value })
    }
}

impl<'a> Reader<'a> {
    /// The value of the first attribute of this kind.
    pub(super) fn value(self, kind: u16) -> Option<&'a [u8]> {
        self.into_iter().find(|attribute| attribute.kind == kind).map(|attribute| attribute.value)
    }

    /// The first attribute of this kind as text, up to its NUL.
    pub(super) fn text(self, kind: u16) -> Option<&'a str> {
        let value = self.value(kind)?;
        let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
        str::from_utf8(&value[..end]).ok()
    }

    /// Whether every attribute of `wanted` is here with the same value, nested ones by the same measure. The kernel
    /// adds attributes of its own (handles, counters, defaults), but never elements to a list.
    pub(super) fn covers(self, wanted: Reader<'_>) -> bool {
        let mut seen: Vec<u16> = Vec::new();
        for attribute in wanted {
            let earlier = seen.iter().filter(|kind| **kind == attribute.kind).count();
            seen.push(attribute.kind);
            let Some(held) = self.filter(|held| held.kind == attribute.kind).nth(earlier) else { return false };
            let same = if attribute.nested {
                Reader(held.value).covers(Reader(attribute.value))
            } else {
                held.value == attribute.value
            };
            if !same {
                return false;
            }
        }
        seen.iter().all(|kind| {
            let count = |reader: Reader<'_>| reader.filter(|attribute| attribute.kind == *kind).count();
            count(self) == count(wanted)
        })
    }
}

const ATTRIBUTE_HEADER_LEN: usize = 4;
const NESTED: u16 = 0x8000;
const NET_BYTE_ORDER: u16 = 0x4000;

#[cfg(test)]
mod tests {
    use super::*;

    fn built(fill: impl FnOnce(&mut Attributes)) -> Vec<u8> {
        let mut attributes = Attributes::default();
        fill(&mut attributes);
        attributes.0
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let bytes = built(|a| {
            a.text(1, "lo");
            a.number(2, -100);
            a.nest(3, |a| a.bytes(4, &[7]));
        });
        assert_eq!(bytes.len() % 4, 0);
        let read = Reader(&bytes);
        assert_eq!(read.text(1), Some("lo"));
        assert_eq!(read.value(2), Some((-100_i32).to_be_bytes().as_slice()));
        assert_eq!(Reader(read.value(3).unwrap()).value(4), Some([7].as_slice()));
        assert_eq!(read.value(9), None);
    }

    #[test]
    fn ends_at_an_attribute_that_does_not_fit() {
        let whole = built(|a| a.bytes(1, &[1, 2, 3, 4]));
        for cut in 0..whole.len() {
            assert_eq!(Reader(&whole[..cut]).count(), 0, "{cut}");
        }
        for len in [0_u16, 3, 9, u16::MAX] {
            let mut broken = whole.clone();
            broken[..2].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(Reader(&broken).count(), 0, "{len}");
        }
    }

    #[test]
    fn covers_what_the_kernel_added_to_but_not_what_it_changed() {
        let wanted = built(|a| {
            a.nest(1, |a| a.number(1, 5));
            a.nest(1, |a| a.number(1, 6));
        });
        let list = |values: &[i32]| {
            built(|a| {
                a.number(9, 42);
                for value in values {
                    a.nest(1, |a| {
                        a.number(1, *value);
                        a.number(2, 0);
                    });
                }
            })
        };
        assert!(Reader(&list(&[5, 6])).covers(Reader(&wanted)));
        for changed in [&[5][..], &[6, 5], &[5, 7], &[5, 6, 7], &[]] {
            assert!(!Reader(&list(changed)).covers(Reader(&wanted)), "{changed:?}");
        }
    }
}
