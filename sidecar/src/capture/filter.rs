//! The values users write to keep traffic out of capture: port ranges, CIDRs, a socket mark, and lists of them.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// One port or an inclusive range of ports: `5432` or `8000-8100`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The lowest port in the range.
    pub fn first(self) -> u16 {
        self.first
    }

    /// The highest port in the range.
    pub fn last(self) -> u16 {
        self.last
    }

    /// Whether `port` is in the range.
    pub fn contains(self, port: u16) -> bool {
        RangeInclusive::new(self.first, self.last).contains(&port)
    }
}

impl From<u16> for PortRange {
    fn from(port: u16) -> Self {
        Self { first: port, last: port }
    }
}

impl FromStr for PortRange {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse = || ParseError::new(text, "a port from 1 to 65535, or a range such as 8000-8100");
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let first = first.trim().parse().map_err(|_| refuse())?;
        let last = last.trim().parse().map_err(|_| refuse())?;
        if first == 0 || first > last {
            return Err(refuse());
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// A block of addresses. Host bits are cleared, so that `10.1.2.3/8` means `10.0.0.0/8` as it does to routers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The first address of the block.
    pub fn network(self) -> IpAddr {
        self.network
    }

    /// How many leading bits are fixed.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    fn new(address: IpAddr, prefix: u8) -> Self {
        let network = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4((u32::from(v4) & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6((u128::from(v6) & mask).into())
            }
        };
        Self { network, prefix }
    }
}

impl FromStr for Cidr {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse = || ParseError::new(text, "an address or a block such as 10.0.0.0/8 or fd00::/8");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.trim().parse().map_err(|_| refuse())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.trim().parse().map_err(|_| refuse())?,
            None => longest,
        };
        if prefix > longest {
            return Err(refuse());
        }
        Ok(Self::new(address, prefix))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// A socket mark (`SO_MARK`), written in decimal or as `0x4f52`. Never 0: that is what every unmarked socket has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u32);

impl Mark {
    /// The mark as `SO_MARK` takes it.
    pub fn value(self) -> u32 {
        self.0
    }
}

impl FromStr for Mark {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let value = match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => text.parse(),
        };
        match value {
            Ok(value) if value != 0 => Ok(Self(value)),
            _ => Err(ParseError::new(text, "a socket mark other than 0, such as 0x4f52")),
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// A comma-separated list; an empty text is an empty list, because templates often leave a variable empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T>(Vec<T>);

impl<T> List<T> {
    /// The elements in the order written.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: FromStr<Err = ParseError>> FromStr for List<T> {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let items: Vec<T> = text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(T::from_str)
            .collect::<Result<_, _>>()?;
        if items.len() > LONGEST_LIST {
            return Err(ParseError::new("the list", "at most 256 elements; join neighbours into ranges or blocks"));
        }
        Ok(Self(items))
    }
}

/// A value that could not be read, and what would be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct ParseError {
    text: String,
    expected: &'static str,
}

impl ParseError {
    fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.to_owned(), expected }
    }
}

/// Each element is a rule that every first packet walks, and the batch has to fit the socket's send buffer.
const LONGEST_LIST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(text: &str) -> Result<PortRange, ParseError> {
        text.parse()
    }

    #[test]
    fn reads_a_port_and_a_range_of_ports() {
        assert_eq!(ports("5432"), Ok(PortRange { first: 5432, last: 5432 }));
        assert_eq!(ports("8000-8100").map(|range| range.to_string()), Ok("8000-8100".into()));
        assert_eq!(ports("65535-65535").map(|range| range.to_string()), Ok("65535".into()));
    }

    #[test]
    fn refuses_what_is_no_port() {
        for text in ["", "0", "0-5", "65536", "9-8", "-", "80-", "http", "1-2-3", "+"] {
            let error = ports(text).expect_err(text);
            assert!(error.to_string().contains("a port from 1 to 65535"), "{error}");
        }
    }

    #[test]
    fn reads_blocks_of_both_families_and_clears_host_bits() {
        for (text, block) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("255.255.255.255/0", "0.0.0.0/0"),
            ("fd00:1234::1/9", "fd00::/9"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("::1/0", "::/0"),
        ] {
            assert_eq!(text.parse::<Cidr>().map(|cidr| cidr.to_string()), Ok(block.into()));
        }
    }

    #[test]
    fn refuses_what_is_no_block() {
        for text in ["", "10.0.0.0/33", "fd00::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/-1", "example.org/8"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }

    #[test]
    fn reads_a_mark_in_either_base_and_refuses_the_mark_of_every_socket() {
        assert_eq!("0x4f52".parse(), Ok(Mark(0x4f52)));
        assert_eq!("20306".parse(), Ok(Mark(0x4f52)));
        for text in ["0", "0x0", "", "0x", "0x100000000", "-1"] {
            assert!(text.parse::<Mark>().is_err(), "{text}");
        }
    }

    #[test]
    fn reads_lists_and_takes_an_empty_text_as_none() {
        let list: List<PortRange> = "25, 3306,8000-8100,".parse().unwrap();
        assert_eq!(list.iter().map(ToString::to_string).collect::<Vec<_>>(), ["25", "3306", "8000-8100"]);
        assert_eq!("".parse(), Ok(List::<Cidr>::default()));
        assert!("25,x".parse::<List<PortRange>>().is_err());
    }

    #[test]
    fn refuses_a_list_without_bound() {
        let list = |len: usize| vec!["7"; len].join(",").parse::<List<PortRange>>();
        assert!(list(LONGEST_LIST).is_ok());
        assert!(list(LONGEST_LIST + 1).is_err());
    }
}
