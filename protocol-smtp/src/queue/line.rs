//! Who waits for one destination. Tenants take turns, whatever the number of their jobs; the jobs of one tenant
//! keep their order.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::types::JobKey;

/// Whose a job is.
pub(super) type Tenant = [u8; 16];

#[derive(Debug, Default)]
pub(super) struct Line {
    /// Tenants with waiting jobs; the front has the next turn. Never an empty line of jobs.
    tenants: VecDeque<(Tenant, VecDeque<JobKey>)>,
    len: usize,
}

impl Line {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether a job of `tenant` finds room among `places`: there is one left, or the tenant has fewer than its
    /// even share of them and at least may have one.
    pub(super) fn has_room(&self, tenant: Tenant, places: usize) -> bool {
        let own = self.tenants.iter().find(|(t, _)| *t == tenant).map_or(0, |(_, jobs)| jobs.len());
        let tenants = self.tenants.len() + usize::from(own == 0);
        self.len < places || own < (places / tenants.max(1)).max(1)
    }

    pub(super) fn push(&mut self, tenant: Tenant, job: JobKey) {
        self.len += 1;
        match self.tenants.iter_mut().find(|(t, _)| *t == tenant) {
            Some((_, jobs)) => jobs.push_back(job),
            None => self.tenants.push_back((tenant, VecDeque::from([job]))),
        }
    }

    pub(super) fn remove(&mut self, job: JobKey) {
        for (_, jobs) in &mut self.tenants {
            if let Some(at) = jobs.iter().position(|j| *j == job) {
                jobs.remove(at);
                self.len -= 1;
            }
        }
        self.tenants.retain(|(_, jobs)| !jobs.is_empty());
    }

    /// The next job that `ready` lets pass; its tenant's next turn comes after everybody else's.
    pub(super) fn next(&mut self, ready: impl Fn(JobKey) -> bool) -> Option<JobKey> {
        let first_ready = |jobs: &VecDeque<JobKey>| jobs.iter().position(|j| ready(*j));
        let (at, place) =
            self.tenants.iter().enumerate().find_map(|(at, (_, jobs))| Some((at, first_ready(jobs)?)))?;
        let (tenant, mut jobs) = self.tenants.remove(at)?;
        let job = jobs.remove(place);
        self.len -= usize::from(job.is_some());
        if !jobs.is_empty() {
            self.tenants.push_back((tenant, jobs));
        }
        job
    }

    /// Everybody, in the order of their turns.
    pub(super) fn take_all(&mut self) -> Vec<JobKey> {
        core::iter::from_fn(|| self.next(|_| true)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn key(tenant: u8, n: u8) -> JobKey {
        let mut bytes = [0; 16];
        (bytes[0], bytes[1]) = (tenant, n);
        JobKey(bytes)
    }

    /// Three jobs of tenant 1, one of 2, two of 3.
    fn line() -> Line {
        let mut line = Line::default();
        for (tenant, n) in [(1, 1), (1, 2), (1, 3), (2, 1), (3, 1), (3, 2)] {
            line.push([tenant; 16], key(tenant, n));
        }
        line
    }

    #[test]
    fn q16_tenants_take_turns_and_their_jobs_keep_their_order() {
        let expected = [(1, 1), (2, 1), (3, 1), (1, 2), (3, 2), (1, 3)].map(|(t, n)| key(t, n));
        let mut all = line();
        assert_eq!((all.len(), all.take_all()), (6, expected.to_vec()));
        assert!(all.is_empty());
        // One that joins later comes after those who wait for their turn, and not after all their jobs.
        let mut all = line();
        assert_eq!(all.next(|_| true), Some(key(1, 1)));
        all.push([4; 16], key(4, 1));
        let rest = all.take_all();
        assert_eq!(rest[..4], [(2, 1), (3, 1), (1, 2), (4, 1)].map(|(t, n)| key(t, n)));
    }

    #[test]
    fn who_is_not_ready_is_passed_over_and_keeps_its_place() {
        let mut all = line();
        assert_eq!(all.next(|j| j == key(3, 2)), Some(key(3, 2)));
        assert_eq!(all.next(|_| false), None);
        assert_eq!(all.len(), 5);
        all.remove(key(1, 1));
        all.remove(key(9, 9));
        assert_eq!(all.take_all(), [(1, 2), (2, 1), (3, 1), (1, 3)].map(|(t, n)| key(t, n)));
    }

    #[test]
    fn a_full_line_has_room_for_the_share_of_a_tenant_and_no_more() {
        let mut all = Line::default();
        for n in 0..10 {
            assert!(all.has_room([1; 16], 10));
            all.push([1; 16], key(1, n));
        }
        assert!(!all.has_room([1; 16], 10));
        let mut taken = vec![];
        for n in 0..10 {
            if all.has_room([2; 16], 10) {
                all.push([2; 16], key(2, n));
                taken.push(n);
            }
        }
        assert_eq!(taken.len(), 5, "half of the places for one of two");
        for tenant in 3..100 {
            assert!(all.has_room([tenant; 16], 10), "everybody may have one");
            all.push([tenant; 16], key(tenant, 0));
            let another = 10 / usize::from(tenant) > 1;
            assert_eq!(all.has_room([tenant; 16], 10), another, "tenant {tenant}");
        }
    }
}
