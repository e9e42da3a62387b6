//! Matches that have the same path condition, in order of precedence. Where there are many, those that want a certain value of a
//! header are found by that value: a thousand tenants cost what one does.

use std::collections::HashMap;

use ahash::RandomState;
use http::HeaderName;

use crate::RequestView;
use crate::candidate::Candidate;
use crate::matcher::{HeaderMatcher, with_header};

/// The matches of one place in the table.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    candidates: Box<[Candidate]>,
    by_header: Box<[ByValue]>,
    /// Those that `by_header` does not lead to.
    others: Box<[u32]>,
}

/// Places of candidates by the value that they want of one header.
#[derive(Debug)]
struct ByValue {
    name: HeaderName,
    places: HashMap<Box<[u8]>, Vec<u32>, RandomState>,
}

impl Bucket {
    /// Takes candidates that are in order of precedence.
    pub(crate) fn new(candidates: Vec<Candidate>) -> Self {
        let candidates = candidates.into_boxed_slice();
        if candidates.len() <= SCANNED {
            return Self { candidates, ..Self::default() };
        }
        let (mut by_header, mut others): (Vec<ByValue>, Vec<u32>) = (Vec::new(), Vec::new());
        for (place, candidate) in (0_u32..).zip(&candidates) {
            let Some((name, value)) = candidate.headers().iter().find_map(HeaderMatcher::exact) else {
                others.push(place);
                continue;
            };
            let known = by_header.iter().position(|one| one.name == *name).unwrap_or_else(|| {
                by_header.push(ByValue { name: name.clone(), places: HashMap::default() });
                by_header.len() - 1
            });
            by_header[known].places.entry(value.into()).or_default().push(place);
        }
        Self { candidates, by_header: by_header.into(), others: others.into() }
    }

    /// Finds the first candidate that matches.
    pub(crate) fn find(&self, request: &RequestView<'_>) -> Option<&Candidate> {
        if self.candidates.len() <= SCANNED {
            return self.candidates.iter().find(|candidate| candidate.matches(request));
        }
        let mut best = None;
        for header in &self.by_header {
            let first = with_header(&header.name, request, |value| header.places.get(value)).flatten();
            best = self.first(first.map_or(&[][..], Vec::as_slice), best, request);
        }
        best = self.first(&self.others, best, request);
        self.candidates.get(best? as usize)
    }

    /// The first of these places, or the best so far when that comes before.
    fn first(&self, places: &[u32], best: Option<u32>, request: &RequestView<'_>) -> Option<u32> {
        let before = places.iter().copied().take_while(|place| best.is_none_or(|best| *place < best));
        let matches = |place: &u32| self.candidates.get(*place as usize).is_some_and(|c| c.matches(request));
        before.into_iter().find(matches).or(best)
    }
}

/// So few are looked through one by one: an index would cost more. Tests have few rules, and are of the index.
const SCANNED: usize = if cfg!(test) { 1 } else { 8 };
