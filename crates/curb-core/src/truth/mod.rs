//! What jobs really hold, from what the cluster's own scheduler says.

mod account;
mod attribute;
pub mod hosts;
mod meter;
mod proof;
#[cfg(test)]
mod proof_tests;
mod sample;
#[cfg(test)]
mod tests;

pub use account::{Account, Holding, Span, account, supervises};
pub use attribute::{Attributed, JobHeld, Owner, Unmanaged, What, attribute, named};
pub use meter::{HeldMeter, Metered};
pub use proof::{Hosts, Proof, Proofs, Seat, asked};
pub use sample::{
    Actor, ActorId, Demand, Driver, DriverId, GRAIN, Gaps, Grains, Group, Held, Life, Node, NodeId,
    Sample, Task, TaskId,
};
