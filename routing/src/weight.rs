//! The weighted choice between a rule's backends.

use outrigger_proto::ServicePort;
use outrigger_proto::model::{Backend, BackendRef};

use crate::CompileError;
use crate::filter::Filters;
use crate::mirror::Mirror;

/// A rule's backends.
#[derive(Debug)]
pub struct Backends<B> {
    backends: Box<[WeightedBackend<B>]>,
    // Running sums of the weights; a backend of weight 0 repeats its neighbour's sum and is never found.
    sums: Box<[u64]>,
    nowhere: WeightedBackend<B>,
}

/// One backend of a rule.
#[derive(Debug)]
pub struct WeightedBackend<B> {
    /// Where its requests go.
    pub to: Destination<B>,
    /// Its share is weight / sum of weights.
    pub weight: u32,
    /// Applied to its requests, after the rule's filters.
    pub filters: Filters,
    /// Where copies of its requests go.
    pub mirrors: Box<[Mirror<B>]>,
}

/// Where a backend's requests go.
#[derive(Debug)]
pub enum Destination<B> {
    /// A service's port.
    Service {
        /// What it was resolved to when the routes were compiled.
        backend: B,
    },
    /// Nowhere, and why: the request gets status 500 (`ErrorCode::BackendInvalid`).
    Invalid(Box<str>),
}

impl<B> Backends<B> {
    pub(crate) fn compile(
        backends: &[Backend],
        mut resolve: impl FnMut(&ServicePort) -> B,
    ) -> Result<Self, CompileError> {
        let mut compiled = Vec::with_capacity(backends.len());
        let mut sums = Vec::with_capacity(backends.len());
        let mut sum = 0;
        for (index, backend) in backends.iter().enumerate() {
            let filters = Filters::compile_of_backend(&backend.filters)
                .map_err(|e| e.within(format_args!("backendRefs[{index}]")))?;
            let to = match &backend.to {
                BackendRef::Service(service) => Destination::Service { backend: resolve(service) },
                BackendRef::Invalid(why) => Destination::Invalid(why.clone()),
            };
            sum += u64::from(backend.weight);
            sums.push(sum);
            let mirrors = Mirror::compile(&backend.filters, &mut resolve);
            compiled.push(WeightedBackend { to, weight: backend.weight, filters, mirrors });
        }
        let why = if backends.is_empty() { "the rule has no backends" } else { "all weights of the rule are 0" };
        let nowhere = WeightedBackend {
            to: Destination::Invalid(why.into()),
            weight: 0,
            filters: Filters::default(),
            mirrors: Box::default(),
        };
        Ok(Self { backends: compiled.into(), sums: sums.into(), nowhere })
    }

    /// Says whether any of them makes another path of a request's.
    pub(crate) fn change_path(&self) -> bool {
        self.backends.iter().any(|backend| backend.filters.change_path())
    }

    /// Returns the services that get requests, each with a number for which [`Self::pick`] returns it.
    pub fn services(&self) -> impl Iterator<Item = (u64, &B)> {
        let used = self.backends.iter().zip(&self.sums).filter(|(backend, _)| backend.weight > 0);
        used.filter_map(|(backend, sum)| match &backend.to {
            Destination::Service { backend } => Some((sum - 1, backend)),
            Destination::Invalid(_) => None,
        })
    }

    /// Returns the backend of one request; `random` is evenly distributed over all values.
    #[must_use]
    pub fn pick(&self, random: u64) -> &WeightedBackend<B> {
        if let [only] = &*self.backends
            && only.weight > 0
        {
            return only;
        }
        let Some(sum) = self.sums.last().filter(|sum| **sum > 0) else { return &self.nowhere };
        let point = random % sum;
        let index = self.sums.partition_point(|sum| *sum <= point);
        self.backends.get(index).unwrap_or(&self.nowhere)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn backends(weights: &[u32]) -> Backends<usize> {
        let list: Vec<Backend> =
            weights.iter().map(|weight| Backend { to: service("web"), weight: *weight, filters: Vec::new() }).collect();
        let mut index = 0;
        let resolve = |_: &ServicePort| {
            index += 1;
            index - 1
        };
        Backends::compile(&list, resolve).unwrap()
    }

    fn service(name: &str) -> BackendRef {
        let port = std::num::NonZeroU16::new(80).unwrap();
        BackendRef::Service(ServicePort { namespace: "shop".into(), name: name.into(), port })
    }

    fn index(picked: &WeightedBackend<usize>) -> Option<usize> {
        match &picked.to {
            Destination::Service { backend } => Some(*backend),
            Destination::Invalid(_) => None,
        }
    }

    proptest! {
        #[test]
        fn shares_are_exactly_the_weights(weights in prop::collection::vec(0..20_u32, 0..6), turn in 0..1000_u64) {
            let compiled = backends(&weights);
            let sum: u64 = weights.iter().copied().map(u64::from).sum();

            let mut counts = vec![0_u32; weights.len()];
            for residue in 0..sum {
                counts[index(compiled.pick(turn * sum + residue)).unwrap()] += 1;
            }

            prop_assert_eq!(counts, weights);
        }
    }

    #[test]
    fn each_service_that_gets_requests_can_be_picked_by_its_number() {
        for weights in [&[1][..], &[2, 0, 3], &[0, 7], &[0]] {
            let compiled = backends(weights);
            let numbers: Vec<(u64, usize)> = compiled.services().map(|(number, index)| (number, *index)).collect();
            let used: Vec<usize> = (0..weights.len()).filter(|index| weights[*index] > 0).collect();
            assert_eq!(numbers.iter().map(|(_, index)| *index).collect::<Vec<_>>(), used);
            assert!(numbers.iter().all(|(number, index)| self::index(compiled.pick(*number)) == Some(*index)));
        }
    }

    #[test]
    fn goes_nowhere_without_a_positive_weight() {
        for weights in [&[][..], &[0], &[0, 0]] {
            assert_eq!(index(backends(weights).pick(7)), None, "{weights:?}");
        }
    }

    #[test]
    fn bears_the_largest_weights() {
        let compiled = backends(&[u32::MAX, u32::MAX]);
        assert_eq!(index(compiled.pick(u64::from(u32::MAX) - 1)), Some(0));
        assert_eq!(index(compiled.pick(u64::from(u32::MAX))), Some(1));
    }

    #[test]
    fn an_invalid_backend_keeps_its_share_and_a_dangling_one_of_weight_0_gets_none() {
        let backend = |to, weight| Backend { to, weight, filters: Vec::new() };
        let invalid = |why: &str| BackendRef::Invalid(why.into());
        let list = [backend(service("v1"), 7), backend(invalid("no v2"), 3), backend(invalid("no v3"), 0)];
        let compiled = Backends::compile(&list, |service| service.name.clone()).unwrap();

        let picked: Vec<&str> = (0..10)
            .map(|random| match &compiled.pick(random).to {
                Destination::Service { backend } => &**backend,
                Destination::Invalid(why) => why,
            })
            .collect();

        assert_eq!(picked, [["v1"; 7].as_slice(), &["no v2"; 3]].concat());
    }
}
