//! What is kept for jobs that wait and may not be passed, and from whom.
//!
//! What somebody within their limits needs is kept from everybody. What somebody needs who could start only above their
//! limits is kept from those who would borrow as well, and from those under every quota that would lend it: among these the
//! order of the queue holds. It is not kept from others within their limits, since capacity is lent while nobody else
//! wants it. Budgets are not lent: what is kept of them is kept from everybody.

use std::collections::{BTreeMap, HashMap};

use crate::ledger::ResIx;

/// What is needed, counted as if it were held.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs {
    buckets: HashMap<(u32, ResIx), u64>,
    jobs: HashMap<u32, u64>,
    clusters: HashMap<(u32, ResIx), u64>,
}

impl Needs {
    /// So much of what a bucket may hold.
    pub(crate) fn add_in_bucket(&mut self, b: u32, ask: &[(ResIx, u64)]) {
        for (r, a) in ask {
            let sum = self.buckets.entry((b, *r)).or_insert(0);
            *sum = sum.saturating_add(*a);
        }
        *self.jobs.entry(b).or_insert(0) += 1;
    }

    /// So much of what a cluster has.
    pub(crate) fn add_on_cluster(&mut self, cluster: u32, ask: &[(ResIx, u64)]) {
        for (r, a) in ask {
            let sum = self.clusters.entry((cluster, *r)).or_insert(0);
            *sum = sum.saturating_add(*a);
        }
    }

    fn in_bucket(&self, b: u32, r: ResIx) -> u64 {
        self.buckets.get(&(b, r)).copied().unwrap_or(0)
    }

    fn jobs_in(&self, b: u32) -> u64 {
        self.jobs.get(&b).copied().unwrap_or(0)
    }

    fn on_cluster(&self, cluster: u32, r: ResIx) -> u64 {
        self.clusters.get(&(cluster, r)).copied().unwrap_or(0)
    }

    /// On all clusters together.
    fn everywhere(&self, r: ResIx) -> u64 {
        let of = self.clusters.iter().filter(|((_, of), _)| *of == r);
        of.fold(0, |sum, (_, amount)| sum.saturating_add(*amount))
    }

    fn is_empty(&self) -> bool {
        self.buckets.is_empty() && self.jobs.is_empty() && self.clusters.is_empty()
    }
}

/// The buckets above whose limits somebody would be; none of somebody within theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lenders {
    /// Those that several users share, ascending.
    pub(crate) shared: Vec<u32>,
    /// Those of the user alone, ascending.
    pub(crate) private: Vec<u32>,
}

impl Lenders {
    pub(crate) fn is_empty(&self) -> bool {
        self.shared.is_empty() && self.private.is_empty()
    }

    /// Whether all of them are among these buckets: who is in all has no better right to what they lend, and what one of
    /// the others lent is taken back for who is not in it.
    pub(crate) fn are_among(&self, buckets: &[u32]) -> bool {
        let mut all = self.shared.iter().chain(&self.private);
        all.all(|b| buckets.contains(b))
    }
}

/// What borrowers of the same lenders need.
#[derive(Clone, Debug)]
struct Tier {
    /// From those in all of these buckets, ascending.
    from: Vec<u32>,
    needs: Needs,
}

/// What is kept for waiting jobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promised {
    /// For those within their limits.
    firm: Needs,
    /// For all borrowers together.
    lent: Needs,
    tiers: Vec<Tier>,
    /// The tiers by the first of the buckets that they are kept from.
    by_bucket: HashMap<u32, Vec<usize>>,
    numbers: BTreeMap<Vec<u32>, usize>,
    /// By bucket and number of its budget.
    budgets: HashMap<(u32, usize), u128>,
}

impl Promised {
    pub(crate) fn is_empty(&self) -> bool {
        self.firm.is_empty() && self.lent.is_empty() && self.budgets.is_empty()
    }

    /// Whether something is kept for borrowers, so that it matters who asks.
    pub(crate) fn lends(&self) -> bool {
        !self.tiers.is_empty()
    }

    /// Keeps what somebody needs to whom these would lend.
    pub(crate) fn keep(&mut self, lenders: &Lenders, add: impl Fn(&mut Needs)) {
        if lenders.is_empty() {
            return add(&mut self.firm);
        }
        add(&mut self.lent);
        let mut from: Vec<u32> = lenders
            .shared
            .iter()
            .chain(&lenders.private)
            .copied()
            .collect();
        from.sort_unstable();
        let tier = self.tier(from);
        add(&mut self.tiers[tier].needs);
    }

    /// Keeps so much of a budget.
    pub(crate) fn keep_budget(&mut self, b: u32, at: usize, amount: u128) {
        let sum = self.budgets.entry((b, at)).or_insert(0);
        *sum = sum.saturating_add(amount);
    }

    fn tier(&mut self, from: Vec<u32>) -> usize {
        if let Some(tier) = self.numbers.get(&from) {
            return *tier;
        }
        let tier = self.tiers.len();
        if let Some(first) = from.first() {
            self.by_bucket.entry(*first).or_default().push(tier);
        }
        self.numbers.insert(from.clone(), tier);
        self.tiers.push(Tier {
            from,
            needs: Needs::default(),
        });
        tier
    }

    /// The tiers that are kept from somebody in these buckets who borrows nothing.
    fn tiers_for(&self, buckets: &[u32]) -> Vec<usize> {
        let first = buckets.iter().filter_map(|b| self.by_bucket.get(b));
        let in_all = |tier: &usize| self.tiers[*tier].from.iter().all(|b| buckets.contains(b));
        first.flatten().copied().filter(in_all).collect()
    }
}

/// What is kept for others, as somebody sees it.
#[derive(Clone, Debug)]
pub(crate) struct Kept<'a> {
    promised: &'a Promised,
    /// Of somebody who borrows nothing: the borrowers for whom it is kept all the same.
    only: Option<Vec<usize>>,
}

impl<'a> Kept<'a> {
    /// As somebody sees it who borrows.
    pub(crate) fn from_borrower(promised: &'a Promised) -> Kept<'a> {
        Kept {
            promised,
            only: None,
        }
    }

    /// As somebody within their limits sees it who is in these buckets.
    pub(crate) fn from_entitled(promised: &'a Promised, buckets: &[u32]) -> Kept<'a> {
        Kept {
            promised,
            only: promised.lends().then(|| promised.tiers_for(buckets)),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.promised.is_empty()
    }

    fn sum(&self, of: impl Fn(&Needs) -> u64) -> u64 {
        let firm = of(&self.promised.firm);
        match &self.only {
            None => firm.saturating_add(of(&self.promised.lent)),
            Some(tiers) => {
                let needs = tiers.iter().map(|tier| &self.promised.tiers[*tier].needs);
                needs.fold(firm, |sum, needs| sum.saturating_add(of(needs)))
            }
        }
    }

    /// Of what a bucket may hold.
    pub(crate) fn in_bucket(&self, b: u32, r: ResIx) -> u64 {
        self.sum(|needs| needs.in_bucket(b, r))
    }

    /// Of the jobs that a bucket may run.
    pub(crate) fn jobs_in(&self, b: u32) -> u64 {
        self.sum(|needs| needs.jobs_in(b))
    }

    /// Of a bucket's budget by number.
    pub(crate) fn of_budget(&self, b: u32, at: usize) -> u128 {
        let budgets = &self.promised.budgets;
        budgets.get(&(b, at)).copied().unwrap_or(0)
    }

    /// Of what a cluster has.
    pub(crate) fn on_cluster(&self, cluster: u32, r: ResIx) -> u64 {
        self.sum(|needs| needs.on_cluster(cluster, r))
    }

    /// Of what all clusters have together.
    pub(crate) fn everywhere(&self, r: ResIx) -> u64 {
        self.sum(|needs| needs.everywhere(r))
    }
}
